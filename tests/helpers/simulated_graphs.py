"""A stand-in for CUDA graphs that records and replays on the CPU, and refuses what a recording GPU refuses.

A recording is the list of operations and of Triton's launches, with the very tensors they took and made. Replaying runs
them again on whatever these tensors hold by then and writes what comes out into the tensors made at first, as a graph
writes to the addresses it recorded. Numbers that Python worked out once are so kept for good, as on a GPU.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from host_waits import reads_on_host
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

WARM_UP = 1
"""Steps before a recording. CUDA's three would take three times as long and find nothing more."""


class NotRecordable(RuntimeError):
    """A recording GPU would have refused this."""


def make_graphed_callables(
    function: Callable, sample_args: tuple[Tensor, ...], *, allow_unused_input: bool, capture_error_mode: str
) -> Callable:
    """As `torch.cuda.make_graphed_callables`, for one function of tensors."""
    assert not (torch.is_autocast_enabled("cpu") and torch.is_autocast_cache_enabled())
    wanted = [one for one in sample_args if one.requires_grad]
    with torch.random.fork_rng():  # So that tests can compare with steps that are not recorded.
        for _ in range(WARM_UP):
            outputs = [one for one in tree_leaves(function(*sample_args)) if one.requires_grad]
            slots = [torch.ones_like(one) for one in outputs]
            torch.autograd.grad(outputs, wanted, slots, allow_unused=allow_unused_input)
        with _Recording() as forward:
            made = function(*sample_args)
        outputs, structure = tree_flatten(made)
        losses = [one for one in outputs if one.requires_grad]
        slots = [torch.zeros_like(one) for one in losses]
        with _Recording() as backward:
            gradients = torch.autograd.grad(losses, wanted, slots, allow_unused=allow_unused_input)
    # A recording GPU computes nothing.
    backward.undo()
    forward.undo()
    by_argument = iter(gradients)
    of_arguments = [next(by_argument) if one.requires_grad else None for one in sample_args]

    class Graphed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
            for own, given in zip(sample_args, inputs, strict=True):
                if own.data_ptr() != given.data_ptr():
                    own.copy_(given)
            forward.replay()
            return tuple(one.detach() for one in outputs)

        @staticmethod
        def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
            arriving = [grad for one, grad in zip(outputs, given, strict=True) if one.requires_grad]
            for slot, grad in zip(slots, arriving, strict=True):
                slot.copy_(grad)
            backward.replay()
            return tuple(None if one is None else one.detach() for one in of_arguments)

    return lambda *given: tree_unflatten(list(Graphed.apply(*given)), structure)


@contextlib.contextmanager
def simulated_graphs() -> Iterator[mock.Mock]:
    """Within it, steps are recorded by the stand-in; yields what counts the recordings."""
    recorder = mock.Mock(side_effect=make_graphed_callables)
    with mock.patch("torch.cuda.make_graphed_callables", recorder):
        yield recorder


class _Recording(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Callable, tuple, dict, Any]] = []
        self._made: set[int] = set()
        self._before: list[tuple[Tensor, Tensor]] = []
        self._launches = contextlib.ExitStack()

    def __enter__(self) -> _Recording:
        with contextlib.suppress(ImportError):
            from triton.runtime.interpreter import GridExecutor

            launch = GridExecutor.__call__

            def launched(executor: Any, *args: Any, **kwargs: Any) -> None:
                with _disable_current_modes():
                    launch(executor, *args, **kwargs)
                self._calls.append((lambda *a, **k: launch(executor, *a, **k), args, kwargs, None))

            self._launches.enter_context(mock.patch.object(GridExecutor, "__call__", launched))
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self._launches.close()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if reads_on_host(func, args, kwargs):
            raise NotRecordable(f"{func}: its result is read by the host, or comes from it")
        for spec, one in [*zip(func._schema.arguments, args, strict=False), *_named(func, kwargs)]:
            if spec.alias_info is not None and spec.alias_info.is_write:
                self._keep(one)
        out = func(*args, **kwargs)
        self._made.update(one.untyped_storage().data_ptr() for one in tree_leaves(out) if isinstance(one, Tensor))
        self._calls.append((func, args, kwargs, out))
        return out

    def _keep(self, one: Tensor) -> None:
        """What is changed in place and was there before."""
        if one.untyped_storage().data_ptr() not in self._made:
            self._before.append((one, one.detach().clone()))

    @torch.no_grad()
    def undo(self) -> None:
        for one, before in reversed(self._before):
            one.copy_(before)

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, out in self._calls:
            again = func(*args, **kwargs)
            for one, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(one, Tensor) and one.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                    if one.shape != new.shape:
                        raise NotRecordable(f"{func} made {tuple(new.shape)}, and {tuple(one.shape)} when recorded")
                    one.copy_(new)


def _named(func: Any, kwargs: dict) -> list[tuple[Any, Any]]:
    return [(spec, kwargs[spec.name]) for spec in func._schema.arguments if spec.name in kwargs]
