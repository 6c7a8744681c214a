"""The hot loops: each in plain torch, which is its specification, with twins in numba (CPU) and Triton (CUDA).

Besides, what has to be read from a GPU, and small networks that others trained.
"""
