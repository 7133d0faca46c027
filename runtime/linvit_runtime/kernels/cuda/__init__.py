"""Linear attention on NVIDIA GPUs: kernels in Numba-CUDA."""
