"""Linear attention on CPUs: kernels in Numba, with explicit vector instructions."""
