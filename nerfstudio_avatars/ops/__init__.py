"""The hot loops: each in plain torch, which is its specification, with twins in numba (CPU) and Triton (CUDA)."""
