"""A pretend GPU: computes on the CPU, and refuses what CUDA refuses. Finds tensors on the wrong device without a GPU.

Within `pretend_gpu()` everything that is asked for on "cuda" is a `GpuTensor`: its `device` is cuda:0, its numbers are
those of the CPU, and an operation that takes it together with a tensor that was left on the CPU raises `WrongDevice`.

To torch's C++ parts such a tensor lies on the "meta" device: their own factories (in backward formulas, say) ask for
that device, so it stands for the GPU at the level of `__torch_dispatch__`, and nothing looks for a driver.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

GPU = torch.device("cuda", 0)
aten = torch.ops.aten
COPIES = {"aten::copy_", "aten::_to_copy", "aten::copy", "aten::_copy_from"}
"""From anywhere to anywhere."""
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index"}
INDEXING |= {"aten::_unsafe_index_put"}
"""A GPU's tensor takes indices from the CPU, but not the other way round."""
TAKE_CPU_SCALARS = {"aten::masked_fill", "aten::masked_fill_", "aten::fill_", "aten::fill", "aten::index_fill_"}
"""Known to, whereas the meta device does not."""
ANSWERS = {"is_available": True, "synchronize": None, "empty_cache": None, "manual_seed_all": None}
ANSWERS |= {"get_device_name": "a pretended GPU"}
"""What `torch.cuda` says."""
FACTORIES = ("arange", "empty", "full", "ones", "zeros")
"""Those that torch's own Python functions call, where no `TorchFunctionMode` sees them."""
CPU_ARRAYS = ("numpy", "__array__")


class WrongDevice(RuntimeError):
    """CUDA would have refused this."""


class GpuTensor(Tensor):
    """A tensor that says it lies on a GPU; its numbers are in `held`, on the CPU."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor, requires_grad: bool = False) -> GpuTensor:
        assert not isinstance(held, GpuTensor) and held.device.type == "cpu"
        return Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device="meta",
            requires_grad=requires_grad,
        )

    def __init__(self, held: Tensor, requires_grad: bool = False) -> None:
        self.held = held.detach()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _compute(func, args, kwargs or {})

    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_meta = is_cpu = property(lambda self: False)

    def get_device(self) -> int:
        return 0

    def tolist(self) -> Any:
        return self.held.tolist()

    def data_ptr(self) -> int:
        raise NotImplementedError("a pretended tensor has no address")

    def __repr__(self, **_: Any) -> str:
        return f"GpuTensor({self.held})"

    def __deepcopy__(self, memo: dict) -> GpuTensor:
        if id(self) not in memo:
            copied = GpuTensor(self.held.clone(), self.requires_grad)
            if isinstance(self, torch.nn.Parameter):
                copied._is_param = True
            memo[id(self)] = copied
        return memo[id(self)]

    def __reduce_ex__(self, protocol: int) -> tuple:
        return _loaded, (self.held,)

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        """Makes `Module.to` exchange the parameters' insides, so that they stay the same objects as on CUDA."""
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], *_: Any) -> GpuTensor:
        return GpuTensor(inner["held"])


class GpuGenerator(torch.Generator):
    """A generator that says which device it draws for."""

    def __new__(cls, device: Any = "cpu") -> GpuGenerator:
        made = super().__new__(cls, "cpu")
        made.pretended = torch.device(device).type
        return made

    @property
    def device(self) -> torch.device:
        return GPU if self.pretended == "cuda" else torch.device("cpu")


@contextlib.contextmanager
def pretend_gpu() -> Iterator[None]:
    """Within it there is a GPU (of this thread)."""
    with contextlib.ExitStack() as stack:
        replaced = {"Generator": GpuGenerator, "autocast": _autocast, "load": _load}
        replaced["cuda.device_of"] = contextlib.nullcontext
        replaced["cuda.Event"] = mock.Mock  # whose queries are true: all is done at once
        replaced |= {f"cuda.{name}": mock.Mock(return_value=answer) for name, answer in ANSWERS.items()}
        # Optimizers would ask it for streams.
        replaced["accelerator.current_accelerator"] = mock.Mock(return_value=None)
        replaced |= {name: _factory(getattr(torch, name)) for name in FACTORIES}
        for name, stand_in in replaced.items():
            stack.enter_context(mock.patch(f"torch.{name}", stand_in))
        with contextlib.suppress(ImportError):
            from triton.runtime.interpreter import GridExecutor

            stack.enter_context(mock.patch.object(GridExecutor, "__call__", _launcher(GridExecutor.__call__)))
        stack.enter_context(torch.serialization.safe_globals([_loaded]))
        stack.enter_context(_Calls())
        stack.enter_context(_Operations())
        yield


# What torch is asked for ----------------------------------------------------------------------------------------------


class _Calls(TorchFunctionMode):
    """Turns "cuda" into what stands for it, and refuses what never becomes an operation."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        ours = bool(args) and isinstance(args[0], GpuTensor)
        if ours and name in CPU_ARRAYS:
            raise WrongDevice(f"{name} of a tensor on {GPU}: numpy knows only the CPU, use Tensor.cpu()")
        if name in ("tensor", "as_tensor", "asarray") and _is_gpu(kwargs.get("device")):
            # The meta device would forget the numbers.
            kwargs.pop("device")
            return func(*args, **kwargs).to("meta")
        if name == "new_tensor" and ours:
            return torch.tensor(*args[1:], **kwargs).to(kwargs.get("dtype") or args[0].dtype).to("meta")
        if name == "cuda":
            return args[0].to("meta")
        if name == "pin_memory":
            return args[0].clone()
        if name == "to":
            args = args[:1] + tuple(one for arg in args[1:] for one in _destination(arg))
            if "other" in kwargs:
                kwargs.update(zip(("device", "dtype"), _destination(kwargs.pop("other")), strict=False))
        if name in ("__getitem__", "__setitem__"):
            args = (args[0], _indices(args[1], ours), *args[2:])
        if kwargs.get("generator") is not None:
            _check_generator(name, args, kwargs)
        if "device" in kwargs:
            kwargs["device"] = _stand_in(kwargs["device"])
        return func(*args, **kwargs)


def _check_generator(name: str, args: tuple, kwargs: dict) -> None:
    changed = args[0].device if isinstance(args[0], Tensor) else "cpu"
    there, drawn_by = _is_gpu(kwargs.get("device") or changed), kwargs["generator"].device
    if there != _is_gpu(drawn_by):
        raise WrongDevice(f"{name} on {GPU if there else 'the CPU'} with a generator of {drawn_by}")


def _is_gpu(device: Any) -> bool:
    if isinstance(device, str):
        return device.startswith("cuda")
    return isinstance(device, torch.device) and device.type == "cuda"


def _stand_in(device: Any) -> Any:
    return "meta" if _is_gpu(device) else device


def _destination(given: Any) -> tuple:
    """Of `Tensor.to`, which also takes another tensor."""
    if isinstance(given, GpuTensor):
        return "meta", given.dtype
    if isinstance(given, Tensor):
        return given.device, given.dtype
    return (_stand_in(given),)


def _indices(index: Any, ours: bool) -> Any:
    """Lists become tensors beside the tensor that they index, as torch does with them."""
    mixed = isinstance(index, list) and any(isinstance(one, (Tensor, slice, type(None))) for one in index)
    if isinstance(index, tuple) or mixed:
        return tuple(_indices(one, ours) for one in index)
    if isinstance(index, (list, range)) or type(index).__module__ == "numpy":
        index = torch.as_tensor(index if not isinstance(index, range) else list(index))
        return index.to("meta") if ours and index.ndim else index
    return index


# What it computes -----------------------------------------------------------------------------------------------------


class _Operations(TorchDispatchMode):
    """Sees the factories, which take no tensor."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _compute(func, args, kwargs or {})


def _compute(func: Any, args: tuple, kwargs: dict) -> Any:
    flat, structure = tree_flatten((args, kwargs))
    ours = [one for one in flat if isinstance(one, GpuTensor)]
    asked = kwargs.get("device")
    if not ours and asked is None:
        return func(*args, **kwargs)
    to_gpu = bool(ours) if asked is None else torch.device(asked).type in ("meta", "cuda")
    _check_devices(func, args, kwargs, flat)
    args, kwargs = tree_unflatten([one.held if isinstance(one, GpuTensor) else one for one in flat], structure)
    if asked is not None:
        kwargs["device"] = torch.device("cpu")
    kwargs.pop("pin_memory", None)
    known = {id(one.held): one for one in ours}

    def outside(result: Any) -> Any:
        if not isinstance(result, Tensor):
            return result
        if id(result) in known:  # Changed in place.
            mine = known[id(result)]
            if mine.shape != result.shape or mine.stride() != result.stride():
                raise NotImplementedError(f"{func} changed the shape of a pretended tensor in place")
            return mine
        return GpuTensor(result) if to_gpu else result

    return tree_map(outside, func(*args, **kwargs))


def _check_devices(func: Any, args: tuple, kwargs: dict, flat: list) -> None:
    """Raises where the operation takes tensors of both devices and CUDA has no exception for it."""
    theirs = [one for one in flat if isinstance(one, Tensor) and not isinstance(one, GpuTensor)]
    if not theirs or len(theirs) == sum(isinstance(one, Tensor) for one in flat):
        return
    name = func._schema.name
    if name in COPIES:
        return
    if name in INDEXING:
        indexed, values = args[0], args[2:3]
        theirs = [one for one in (indexed, *values) if isinstance(one, Tensor) and not isinstance(one, GpuTensor)]
        if isinstance(indexed, GpuTensor) and all(one.ndim == 0 for one in theirs):
            return
    elif all(one.ndim == 0 for one in theirs) and (name in TAKE_CPU_SCALARS or _takes_cpu_scalars(func, args, kwargs)):
        written = [one for one, spec in zip(args, func._schema.arguments, strict=False) if _is_written(spec)]
        if not any(one is other for one in written for other in theirs):
            return
    given = ", ".join(f"{tuple(one.shape)} on {one.device}" for one in flat if isinstance(one, Tensor))
    raise WrongDevice(f"{func} of tensors on two devices: {given}")


def _is_written(spec: Any) -> bool:
    return spec.alias_info is not None and spec.alias_info.is_write


def _takes_cpu_scalars(func: Any, args: tuple, kwargs: dict) -> bool:
    """Asks the operation itself, on the meta device, which has CUDA's rules for tensors without dimensions."""
    if torch.Tag.pointwise not in func.tags:
        return False
    arguments, options = tree_map(_on_meta, (args, kwargs))
    try:
        func(*arguments, **options)
    except (RuntimeError, NotImplementedError):
        return False
    return True


def _on_meta(one: Any) -> Any:
    if not isinstance(one, GpuTensor):
        return one
    return torch.empty_strided(one.held.shape, one.held.stride(), dtype=one.dtype, device="meta")


# Around it ------------------------------------------------------------------------------------------------------------

_autocast_of_torch, _load_of_torch = torch.autocast, torch.load
_location: list[Any] = [None]


def _factory(make: Callable) -> Callable:
    @functools.wraps(make)
    def made(*args: Any, **kwargs: Any) -> Tensor:
        return make(*args, **({**kwargs, "device": _stand_in(kwargs["device"])} if "device" in kwargs else kwargs))

    return made


def _launcher(launch: Callable) -> Callable:
    """Launches a Triton kernel in Triton's interpreter."""

    def launched(executor: Any, *args: Any, **kwargs: Any) -> Any:
        for place, one in enumerate(args):
            if isinstance(one, Tensor) and not isinstance(one, GpuTensor):
                raise WrongDevice(f"a Triton kernel's argument {executor.arg_names[place]} lies on {one.device}")
        return launch(executor, *(one.held if isinstance(one, GpuTensor) else one for one in args), **kwargs)

    return launched


def _autocast(device_type: str, *args: Any, **kwargs: Any) -> Any:
    """Numbers stay as they are on a GPU."""
    return contextlib.nullcontext() if device_type == "cuda" else _autocast_of_torch(device_type, *args, **kwargs)


def _load(file: Any, map_location: Any = None, **kwargs: Any) -> Any:
    """Tensors go back to the device that they were saved from, unless another is asked for."""
    given = {"map_location": None if map_location is None or _is_gpu(map_location) else map_location}
    _location[0] = map_location
    loaded = _load_of_torch(file, **given, **kwargs)
    return _moved(loaded) if _is_gpu(map_location) else loaded


def _moved(loaded: Any) -> Any:
    return tree_map(lambda one: one.to(GPU) if isinstance(one, Tensor) else one, loaded)


def _loaded(held: Tensor) -> Tensor:
    return held if _location[0] is not None and torch.device(_location[0]).type == "cpu" else GpuTensor(held)
