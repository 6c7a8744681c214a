"""Checkpoints: written whole or not at all, read without building any object, compared with the model they are for."""

from __future__ import annotations

import pickletools
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.files import regular_file
from nerfstudio_avatars.whole_files import whole_file

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = re.compile(r"step-\d{9,}\.ckpt")
_KEPT = 2
"""Checkpoints that stay where only the latest is asked for: should one not be readable, the one before is."""

_GLOBALS = re.compile(
    r"torch\._utils _rebuild_(tensor_v2|parameter)|torch (\w+Storage|storage\._\w+|b?float\d+|u?int\d+|bool|Size)|"
    r"collections OrderedDict|numpy dtype|numpy\._?core\.multiarray scalar|numpy\.dtypes \w+DType|_codecs encode"
)
"""Names that the pickle inside a checkpoint may use."""
_MOST_OPCODES = 2_000_000
"""Of that pickle; a checkpoint of these methods has some ten thousand."""
_EXPECTED = "a checkpoint of ns-train, step-*.ckpt, whole"
_FIX = "take another checkpoint of the run, or train it again"


class Checkpoint(NamedTuple):
    """A checkpoint that was read."""

    path: Path
    state: dict[str, Any]

    @property
    def step(self) -> int:
        """The last step that it holds, counted from 0."""
        return self.state["step"]


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints that nerfstudio wrote to a folder, in order of steps; empty if there is no such folder."""
    return sorted((one for one in folder.glob("step-*.ckpt") if NAME.fullmatch(one.name)), key=step_of)


def step_of(checkpoint: Path) -> int:
    """The step that a file such as `step-000001499.ckpt` was saved at."""
    return int(checkpoint.stem.removeprefix("step-"))


# Writing --------------------------------------------------------------------------------------------------------------


def write_checkpoint(folder: Path, step: int, state: dict[str, Any], only_latest: bool) -> Path:
    """Writes `step-*.ckpt` beside its folder, and moves it there when it is whole and on the disk.

    Loaders read the steps from all names in the folder, so nothing unfinished may lie in it, even if the process is
    killed meanwhile. What earlier killed processes left behind is deleted.

    Args:
        folder: the folder of the run's checkpoints.
        step: the last step done.
        state: what to write.
        only_latest: delete all but the two latest, once the new one is in its place.

    Raises:
        UserError: if it cannot be written, for instance because the disk is full. Earlier checkpoints stay.
    """
    import torch

    path = folder / f"step-{step:09d}.ckpt"
    remove_leftovers(folder)
    try:
        with whole_file(path, partial_in=folder.parent) as partial:
            torch.save(state, partial)
    except UserError as error:
        there = checkpoints_in(folder)
        stays = f"The checkpoint before it stays: {there[-1]}." if there else "There is no checkpoint before it."
        raise UserError(f"{error} {stays} Go on with --load-dir; --output-dir names another place.") from error
    if only_latest:
        # Steps after this one are of an earlier training in the same folder.
        before = [one for one in checkpoints_in(folder) if one != path]
        for other in [*(one for one in before if step_of(one) > step), *_up_to(before, step)[: 1 - _KEPT]]:
            other.unlink(missing_ok=True)
    return path


def _up_to(checkpoints: list[Path], step: int) -> list[Path]:
    return [one for one in checkpoints if step_of(one) <= step]


def remove_leftovers(folder: Path) -> None:
    """Deletes checkpoints that killed processes left half written, beside the folder or (earlier versions) in it."""
    for place in (folder.parent, folder):
        for pattern in (".step-*.partial.ckpt", ".step-*.ckpt.*.partial"):
            for one in place.glob(pattern):
                one.unlink(missing_ok=True)


# Reading --------------------------------------------------------------------------------------------------------------


def read_latest(folder: Path, step: int | None = None) -> Checkpoint:
    """The last checkpoint of a folder that can be read; those after it that cannot are named on the way.

    Args:
        folder: a run's `nerfstudio_models`, or the run's own folder.
        step: of the one checkpoint that is wanted; by default the last.

    Raises:
        UserError: if there is none, or none can be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Expected one with checkpoints, step-*.ckpt.")
    found = checkpoints_in(folder)
    if not found and (folder / "nerfstudio_models").is_dir():
        found = checkpoints_in(folder / "nerfstudio_models")
    if step is not None:
        wanted = [one for one in found if step_of(one) == step]
        if not wanted:
            there = ", ".join(str(step_of(one)) for one in found) or "none"
            raise UserError(f"{folder}: no checkpoint of step {step}. Steps there: {there}.")
        return read_checkpoint(wanted[0])
    if not found:
        raise UserError(
            f"{folder}: no checkpoint there. Expected step-*.ckpt; the training ended before it wrote the first one. "
            "Start it anew, without --load-dir."
        )
    for path in reversed(found):
        try:
            return read_checkpoint(path)
        except DataError as error:
            if path == found[0]:
                raise
            print(f"{path}: {error.found}; the checkpoint before it is taken.")
    raise AssertionError


def last_whole(checkpoints: list[Path]) -> Path:
    """The last checkpoint that is no damaged file, for instance because the disk was full; those after it are named."""
    for path in reversed(checkpoints):
        try:
            check_archive(path)
        except DataError as error:
            if path == checkpoints[0]:
                raise
            print(f"{path}: {error.found}; the checkpoint before it is taken.")
        else:
            return path
    raise ValueError("no checkpoints")


def read_checkpoint(path: Path, mapped: bool = False) -> Checkpoint:
    """Reads one file. Only tensors and plain values are built, and no more memory is taken than the file is large.

    Args:
        path: of the file.
        mapped: read tensors when they are used. The file must stay as it is meanwhile.

    Raises:
        DataError: if it is no whole checkpoint, or holds anything else, or weights that are not finite.
    """
    import pickle

    import torch

    allow_scheduler_scalars()
    try:
        check_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except DataError:
        raise
    except OSError as error:
        raise DataError(path, error.strerror or type(error).__name__, _EXPECTED, _FIX) from error
    except (
        RuntimeError,
        pickle.UnpicklingError,
        EOFError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:
        # torch's own words advise to load the file with its pickle executed; nobody should.
        raise DataError(path, "a file that is damaged, or cut off", _EXPECTED, _FIX) from error
    return Checkpoint(path, _checked(path, state))


def allow_scheduler_scalars() -> None:
    """Lets torch >= 2.6 load nerfstudio's checkpoints, whose schedulers hold numpy scalars (nerfstudio issue 3683).

    Three harmless names are allowed; loading is still restricted to plain data.
    """
    import numpy as np
    import torch

    # The place of `scalar` differs between numpy 1 and 2; an actual scalar knows it.
    scalar = np.float64(0).__reduce__()[0]
    torch.serialization.add_safe_globals([scalar, np.dtype, type(np.dtype("float64"))])  # type: ignore[list-item]


def check_archive(path: Path) -> None:
    """Looks through a checkpoint before torch reads it: its sizes, and every name that its pickle mentions.

    Raises:
        DataError: if it is no whole checkpoint, or names what is no part of one.
    """
    regular_file(path, _EXPECTED, _FIX)
    size = path.stat().st_size
    if size == 0:
        raise DataError(path, "an empty file", _EXPECTED, _FIX)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            # torch stores without compression: what claims to be larger than its file grows in memory.
            if sum(one.file_size for one in members) > size or any(one.compress_type for one in members):
                raise DataError(path, "an archive that unpacks to more than it is", _EXPECTED, "do not use this file")
            inner = [one for one in members if one.filename.endswith("/data.pkl")]
            if len(inner) != 1:
                raise DataError(path, "an archive of something else", _EXPECTED, _FIX)
            _check_names(path, archive.read(inner[0]))
    except OSError as error:
        raise DataError(path, error.strerror or type(error).__name__, _EXPECTED, _FIX) from error
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        found = "a file that is damaged, or cut off, or no checkpoint at all"
        raise DataError(path, found, _EXPECTED, _FIX) from error


def _check_names(path: Path, content: bytes) -> None:
    for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        named = opcode.name in ("GLOBAL", "INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4")
        if named and not (opcode.name == "GLOBAL" and _GLOBALS.fullmatch(str(argument))):
            found = f"the name `{str(argument).replace(' ', '.')}` (not executed)"
            raise DataError(path, found, "tensors and plain values only", "do not use this file")
        if number > _MOST_OPCODES:
            raise DataError(path, f"more than {_MOST_OPCODES} values", _EXPECTED, "do not use this file")


def _checked(path: Path, state: Any) -> dict[str, Any]:
    import torch

    found = None
    if not isinstance(state, dict):
        found = f"a {type(state).__name__}"
    elif not isinstance(state.get("step"), int) or isinstance(state["step"], bool) or not 0 <= state["step"] < 10**12:
        found = "no number of steps" if "step" not in state else f"step {state['step']!r:.40}"
    elif not isinstance(state.get("pipeline"), dict):
        found = "no entry `pipeline`, which holds the weights"
    elif not all(isinstance(name, str) for name in state["pipeline"]):
        found = "weights without names"
    if found is not None:
        raise DataError(path, found, _EXPECTED, _FIX)
    for name, weights in state["pipeline"].items():
        if not isinstance(weights, torch.Tensor):
            continue
        if weights.layout is not torch.strided or weights.device.type != "cpu" or _overlaps(weights):
            raise DataError(path, f"`{name}` is no plain tensor", _EXPECTED, "do not use this file")
        if weights.is_floating_point() and not bool(weights.isfinite().all()):
            found = f"numbers in `{name}` that are not finite: the training had broken down"
            raise DataError(path, found, "finite weights", "take an earlier checkpoint, or train again")
    return state


def _overlaps(tensor: Tensor) -> bool:
    """Whether a tensor has more numbers than it has memory."""
    return tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()


# Taking up ------------------------------------------------------------------------------------------------------------


def method_of(state: dict[str, Any]) -> str:
    """The method that a checkpoint is of, as far as it tells."""
    if isinstance(state.get("method"), str):
        return state["method"]
    weights = state["pipeline"]
    if any(".avatar." in name for name in weights):
        return "instant-avatar"
    return "unsup-volanim" if any("network.embedding" in name for name in weights) else "another method"


def load_weights(
    model: nn.Module, weights: dict[str, Any], source: str, target: str, checkpoint: Path | None = None
) -> None:
    """Gives a model all of its weights, or none at all.

    Args:
        model: that of a pipeline.
        weights: the entry `pipeline` of a checkpoint.
        source: what the weights are of, for the message.
        target: what the model is of.
        checkpoint: the file, beside which a model may have more than fits into it (its `row_file`).

    Raises:
        UserError: if names or sizes are not the model's.
        DataError: if what lies beside the checkpoint is missing.
    """
    import torch

    own = {name.removeprefix("module.").removeprefix("_model."): one for name, one in weights.items()}
    own = {name.removeprefix("module."): one for name, one in own.items() if not name.startswith("datamanager.")}
    expected = model.state_dict()
    missing = sorted(expected.keys() - own.keys())
    if missing and not expected.keys() & own.keys():
        raise UserError(f"{source}: none of its weights belongs to {target}. {_OTHER}")
    try:
        model.load_state_dict(own, strict=True)
    except (RuntimeError, TypeError, AttributeError, KeyError, IndexError, ValueError) as error:
        unlike = [
            f"`{name}` {_shape(own[name])} instead of {_shape(one)}"
            for name, one in expected.items()
            if name in own and _shape(own[name]) != _shape(one)
        ]
        found = [*unlike, *(f"no `{name}`" for name in missing)]
        found += [f"`{name}`, which is not known" for name in sorted(own.keys() - expected.keys())]
        # Sizes that follow from the data are matched by the model itself; what is left is told in torch's words.
        told = "; ".join(found[:3]) or str(error).splitlines()[-1].strip()
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise UserError(f"{source}: its weights do not fit {target}: {told}{more}. {_OTHER}") from error
    for name, one in model.state_dict().items():
        if isinstance(one, torch.Tensor) and one.is_floating_point() and not bool(one.isfinite().all()):
            raise UserError(f"{source}: `{name}` holds numbers that are not finite. Take an earlier checkpoint.")
    rows = getattr(model, "row_file", None)
    if rows is not None and checkpoint is not None:
        rows.take_from(checkpoint)


_OTHER = "Take the method, sizes and data that the checkpoint was trained with, or start without it."


def _shape(value: Any) -> tuple[int, ...] | str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ if shape is None else tuple(shape)
