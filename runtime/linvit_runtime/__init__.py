"""What generated modules and training need: kernels, data, the training loop, pictures.

Importing this package is cheap. torch and numba load with the submodules that use them.
"""
