"""Which twin of an op runs: numba on the CPU where it imports, plain torch everywhere else."""

from __future__ import annotations

import functools
import os

import torch


@functools.cache
def _numba_imports() -> bool:
    try:
        import numba  # noqa: F401
    except ImportError:
        return False
    return True


def use_numba(x: torch.Tensor) -> bool:
    """True if `x` lives where the numba twin works. `NERFSTUDIO_AVATARS_BACKEND=torch` forces the specification."""
    if os.environ.get("NERFSTUDIO_AVATARS_BACKEND", "auto") == "torch":
        return False
    return x.device.type == "cpu" and x.dtype == torch.float32 and _numba_imports()
