"""A bias-free layer for a few hundred points at a time, for kernels that evaluate networks themselves (numba, CPU)."""

# Compiled kernels are typed by numba.
# mypy: ignore-errors

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nerfstudio_avatars.kernels import njit

LANES = 32
"""Points are processed in multiples of this, so that vectors are always full."""


def padded(weight: Tensor) -> np.ndarray:
    """Weights `(out, in)` of a layer in float32, padded with zeros to multiples of four."""
    rows, columns = weight.shape
    filled = torch.zeros(-(-rows // 4) * 4, -(-columns // 4) * 4)
    filled[:rows, :columns] = weight.detach()
    return filled.numpy()


@njit(fastmath=True, cache=True, nogil=True)
def dense(x, weight, points, relu, out):
    """`out[:, :points] = weight @ x[:, :points]`, and ReLU. Points are columns; four by four weights in registers."""
    zero = np.float32(0)
    rows, columns = weight.shape
    for j in range(0, rows, 4):
        for k in range(0, columns, 4):
            a0, a1, a2, a3 = weight[j, k], weight[j, k + 1], weight[j, k + 2], weight[j, k + 3]
            b0, b1, b2, b3 = weight[j + 1, k], weight[j + 1, k + 1], weight[j + 1, k + 2], weight[j + 1, k + 3]
            c0, c1, c2, c3 = weight[j + 2, k], weight[j + 2, k + 1], weight[j + 2, k + 2], weight[j + 2, k + 3]
            d0, d1, d2, d3 = weight[j + 3, k], weight[j + 3, k + 1], weight[j + 3, k + 2], weight[j + 3, k + 3]
            if k == 0:
                for i in range(points):
                    x0, x1, x2, x3 = x[k, i], x[k + 1, i], x[k + 2, i], x[k + 3, i]
                    out[j, i] = a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
                    out[j + 1, i] = b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
                    out[j + 2, i] = c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
                    out[j + 3, i] = d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3
            else:
                for i in range(points):
                    x0, x1, x2, x3 = x[k, i], x[k + 1, i], x[k + 2, i], x[k + 3, i]
                    out[j, i] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
                    out[j + 1, i] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
                    out[j + 2, i] += c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
                    out[j + 3, i] += d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3
        if relu:
            for q in range(j, j + 4):
                for i in range(points):
                    out[q, i] = max(out[q, i], zero)
