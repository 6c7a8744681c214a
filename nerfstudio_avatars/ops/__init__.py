"""The hot loops: each in plain torch, which is its specification, with a numba twin for the CPU."""
