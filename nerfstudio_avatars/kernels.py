"""numba's `njit` for the kernels of this package, which stay on disk until the source of any of them changes.

numba itself keeps a compiled kernel until the file that it stands in changes. After an update, this misses kernels of
other files that it calls, which are compiled into it, and types that have gone, which end in an AttributeError.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import IndexDataCacheFile


class _KernelFile(IndexDataCacheFile):
    """What is kept of one kernel."""

    def _load_index(self) -> dict:
        try:
            return super()._load_index()
        except OSError:
            raise
        except Exception:
            # Written by another version, with types that have gone: as if nothing had been kept. Unpickling them may
            # raise anything.
            return {}


def njit(**options: Any) -> Callable[[Callable], Any]:
    """As `numba.njit`; with `cache=True` as the module says."""

    def compiled(function: Callable) -> Any:
        kernel = numba.njit(**options)(function)
        kept = getattr(getattr(kernel, "_cache", None), "_cache_file", None)
        if isinstance(kept, IndexDataCacheFile):
            kept.__class__ = _KernelFile
            kept._source_stamp = (kept._source_stamp, _sources())
        return kernel

    return compiled


@cache
def _sources() -> tuple[tuple[str, float, int], ...]:
    """Name, time and size of every file of this package that holds kernels."""
    files = sorted(path for path in Path(__file__).parent.rglob("*.py") if b"njit" in path.read_bytes())
    return tuple((path.name, path.stat().st_mtime, path.stat().st_size) for path in files)
