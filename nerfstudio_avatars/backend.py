"""Chooses the twin of an op: numba on the CPU and Triton on CUDA if they import, plain torch otherwise.

`NERFSTUDIO_AVATARS_BACKEND=torch` forces the specification. `triton` sends tensors on the CPU to Triton too, which only
its interpreter can run (TRITON_INTERPRET=1, set before Triton is first imported).
"""

from __future__ import annotations

import functools
import os

import torch


def _wanted() -> str:
    return os.environ.get("NERFSTUDIO_AVATARS_BACKEND", "auto")


@functools.cache
def _numba_imports() -> bool:
    try:
        import numba  # noqa: F401
    except ImportError:
        return False
    return True


@functools.cache
def _triton_imports() -> bool:
    # CUDA builds of torch bring Triton on Linux. Those before 3 know less of the language than the kernels use.
    try:
        import triton
    except ImportError:
        return False
    return int(triton.__version__.partition(".")[0]) >= 3


def use_numba(x: torch.Tensor) -> bool:
    """True if `x` lives where the numba twin works."""
    here = x.device.type == "cpu" and _wanted() not in ("torch", "triton")
    return here and x.dtype == torch.float32 and _numba_imports()


def use_triton(x: torch.Tensor) -> bool:
    """True if `x` lives where the Triton twin works."""
    here = (x.is_cuda and _wanted() != "torch") or _wanted() == "triton"
    return here and x.dtype == torch.float32 and _triton_imports()
