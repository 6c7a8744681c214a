"""Where a GPU would have to be waited for, found without one: by the operations that need their result on the host."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import nerfstudio_avatars

PACKAGE = str(Path(nerfstudio_avatars.__file__).parent)
NAMED = ("_local_scalar_dense", "nonzero", "masked_select", "bincount", "equal", "_linalg_check_errors", "_unique2")
NAMED += ("unique_dim", "unique_consecutive", "lift_fresh")
"""Their result's size or value is read by the host; `lift_fresh`: `torch.tensor` copies numbers from the host."""
READS = (torch.Tensor.tolist, torch.Tensor.cpu)
"""Read on the CPU without an operation of their own."""


class HostWaits:
    """Counts host synchronisations within its context by the place in the package that causes them.

    `waits` maps "module.py:function" to a number, `lines` lists them one by one. What `Tensor.to` copies from a GPU
    does not show on the CPU.
    """

    def __init__(self) -> None:
        self.waits: Counter[str] = Counter()
        self.lines: list[str] = []
        self._modes = _Operations(self), _Methods(self)

    def __enter__(self) -> HostWaits:
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *raised) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*raised)

    def note(self, operation: str) -> None:
        frame = sys._getframe(2)
        while frame is not None and not frame.f_code.co_filename.startswith(PACKAGE):
            if "/triton/" in frame.f_code.co_filename:
                return  # The interpreter's own.
            frame = frame.f_back
        if frame is None:
            place, line = "elsewhere", 0
        else:
            place, line = f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}", frame.f_lineno
        self.waits[place] += 1
        self.lines.append(f"{place}:{line} {operation}")


def reads_on_host(func, args: tuple, kwargs: dict) -> bool:
    """Whether an operation's result, or its size, has to come to the host, or comes from it."""
    name = func._schema.name.removeprefix("aten::")
    if name == "repeat_interleave":
        return kwargs.get("output_size") is None
    if name in ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"):
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    return name in NAMED


class _Operations(TorchDispatchMode):
    def __init__(self, found: HostWaits) -> None:
        super().__init__()
        self._found = found

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if reads_on_host(func, args, kwargs):
            self._found.note(func._schema.name.removeprefix("aten::"))
        return func(*args, **kwargs)


class _Methods(TorchFunctionMode):
    def __init__(self, found: HostWaits) -> None:
        super().__init__()
        self._found = found

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in READS:
            self._found.note(func.__name__)
        return func(*args, **(kwargs or {}))
