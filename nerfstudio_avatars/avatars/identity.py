"""Identities that a run was not trained on: fitting them to pictures, saving them and loading them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from jaxtyping import Float

from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.files import write_npz
from nerfstudio_avatars.progress import progress_bar

if TYPE_CHECKING:
    from torch import Tensor

    from nerfstudio_avatars.avatars.run import LoadedRun
    from nerfstudio_avatars.unsup_volanim.inversion import InvertedIdentity
    from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel
    from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses


ENDING = ".npz"


MOST_PICTURES = 64
"""Maximum number of frames to take from a clip, evenly spread."""


_GHOSTS = "so ghosts of the object may remain in the background"


_LEAST_PERSON = 0.03
"""Share of the pictures below which no person counts as found."""


@dataclass(frozen=True)
class Identity:
    """An individual of a learnt kind: its appearance, and the pose in its first picture."""

    cube: Float[Tensor, "channels n n n"]
    """Canonical voxels."""
    pose: PartPoses | None = None
    """(1, parts); None for somebody of whom there is no picture."""
    found: InvertedIdentity | None = None
    """How it was found in pictures, if it was."""

    def save(self, path: str | Path) -> Path:
        """Writes a file that `LearntKind.identity` and `ns-avatar drive` read.

        Raises:
            UserError: if it was not found in pictures: then its name says who it is.
        """
        if self.found is None:
            raise UserError(f"{path}: only an identity that was found in pictures is kept in a file.")
        save_identity(self.found, Path(path))
        return Path(path)


def volanim_model(run: LoadedRun) -> UnsupVolanimModel:
    """The model of a run of `unsup-volanim`.

    Raises:
        UserError: if the run is one of another method.
    """
    from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel

    model = run.model
    if not isinstance(model, UnsupVolanimModel):
        raise UserError(
            f"{run.checkpoint}: a run of {run.config.method}. Expected a run of unsup-volanim: "
            "only this method fits identities to pictures and is driven by clips."
        )
    return model


def find_identity(
    run: LoadedRun, images: tuple[Path, ...], masks: tuple[Path, ...] = (), rounds: int | None = None
) -> InvertedIdentity:
    """Fits an identity to pictures, with a progress bar.

    Args:
        masks: one for each image, or none.
        rounds: of a fitting in seconds, or 0 for two stages; by default as the run's options say.
    """
    check_rounds(rounds)
    model = volanim_model(run)
    pictures, objects = read_pictures(model, images, masks)
    options = model.config.inversion
    try:
        if rounds is not None:
            model.config.inversion = replace(options, rounds=rounds)
        with progress_bar("Finding the identity") as bar:
            return model.invert(pictures, bar, objects)
    finally:
        model.config.inversion = options


def check_rounds(rounds: int | None) -> None:
    """Raises `UserError` for a number of rounds that cannot be."""
    if rounds is not None and rounds < 0:
        raise UserError(f"--rounds {rounds}: expected 0 or more rounds.")


def read_pictures(
    model: UnsupVolanimModel,
    images: tuple[Path, ...],
    masks: tuple[Path, ...] = (),
    tell: Callable[[str], object] = print,
) -> tuple[Tensor, Tensor | None]:
    """Reads pictures, and the masks of their object: as given, from their transparency, or found.

    Args:
        model: whose pictures are as large.
        images: pictures or clips.
        masks: one for each image, or none.
        tell: is told in a sentence where masks come from.

    Returns:
        (pictures, size, size, 3) and (pictures, size, size) or None, 0 to 1.

    Raises:
        UserError: files that cannot be read, or masks that do not fit.
    """
    import torch

    from nerfstudio_avatars.process.person_masks import SIDE, person_masks
    from nerfstudio_avatars.unsup_volanim.data.loose_clip import read_loose_clip, read_loose_masks

    if masks and len(masks) != len(images):
        raise UserError(
            f"--mask: {len(masks)} given for {len(images)} pictures. Expected one for each --image, or none."
        )
    size = model.clips.size
    pictures = torch.cat([read_loose_clip(path, size)[0] for path in images]).float() / 255
    chosen = torch.arange(len(pictures))
    if len(chosen) > MOST_PICTURES:
        chosen = torch.linspace(0, len(pictures) - 1, MOST_PICTURES).round().long()
    given = [
        read_loose_masks(path, size, mask) for path, mask in zip(images, masks or [None] * len(images), strict=True)
    ]
    known = [one for one in given if one is not None]
    if len(known) == len(images):
        objects = torch.cat(known)[chosen].float() / 255
        _check_objects(objects, masks or images)
        return pictures[chosen], objects
    if not model.clips.has_masks:
        tell(f"The pictures are used without masks, as in training, {_GHOSTS}. Use --mask to give masks.")
        return pictures[chosen], None
    try:
        found = person_masks(torch.cat([read_loose_clip(path, SIDE)[0] for path in images])[chosen], size)
    except ModuleNotFoundError as error:
        tell(f"The pictures are used without masks, {_GHOSTS}: {error}. Or use --mask to give masks.")
        return pictures[chosen], None
    if found.float().mean() < _LEAST_PERSON * 255:
        tell(f"No person was found: the pictures are used without masks, {_GHOSTS}. Use --mask to give masks.")
        return pictures[chosen], None
    tell("The person found in the pictures is used as the object. Use --mask to choose another one.")
    return pictures[chosen], found.float() / 255


def _check_objects(objects: Float[Tensor, "pictures size size"], files: tuple[Path, ...]) -> None:
    """Refuses masks without an object, from which nothing can be learnt."""
    empty = [number for number, mask in enumerate(objects) if not bool((mask > 0.5).any())]
    if len(empty) == len(objects) or (empty and len(files) == len(objects)):
        place = files[empty[0]] if len(files) == len(objects) else files[0]
        found = f"a mask without a white pixel in the middle square ({len(empty)} of {len(objects)} are so)"
        raise DataError(place, found, "white where the object is", "write the mask again, or leave --mask out")


def save_identity(identity: InvertedIdentity, path: Path) -> None:
    """Writes the code, the cube, and the pose in the first picture, in one step."""
    import numpy as np

    arrays = {
        "code": identity.code,
        "cube": identity.cube.float(),
        "rotation": identity.pose.rotation[0],
        "translation": identity.pose.translation[0],
    }
    values = {name: one.cpu().numpy() for name, one in arrays.items()}
    write_npz(path, network=np.array(identity.network), **values)


MOST_BYTES = 1 << 28
"""Of a file's cube."""
_ROTATION_TOLERANCE = 1e-3
"""Largest deviation of the rows of a rotation from orthonormality."""


def load_identity(
    path: Path, parts: int | None = None, network: str | None = None, side: int | None = None
) -> tuple[Tensor, PartPoses]:
    """Reads a file written by `save_identity`: the cube, and the pose (1, parts) in the first picture.

    Args:
        parts: the number that the run has; by default any.
        network: the fingerprint of the run's network; by default any.
        side: voxels along an edge of the run's cubes; by default any.

    Raises:
        DataError: if it is not an identity file, or belongs to another kind of run.
    """
    import zipfile

    import numpy as np
    import torch

    from nerfstudio_avatars.bodies.file_kinds import HEAD, refuse_other_kinds
    from nerfstudio_avatars.media.npz_file import open_npz
    from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

    fix = "make it with `ns-avatar invert` and the same run"
    try:
        with open_npz(path, "an identity file, .npz", fix, MOST_BYTES) as file:
            cube, rotation, translation = (
                torch.from_numpy(file[name].astype(np.float32)) for name in ("cube", "rotation", "translation")
            )
            maker = str(file["network"]) if "network" in file else ""
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        if path.is_file():
            with path.open("rb") as opened:
                refuse_other_kinds(path, opened.read(HEAD), "an identity file, .npz")
        raise DataError(path, f"{type(error).__name__}: {error}", "an identity file, .npz", fix) from error
    shapes = [tuple(one.shape) for one in (cube, rotation, translation)]
    count = shapes[1][0] if shapes[1] else 0
    edge = shapes[0][-1:]
    fits = count and shapes == [(count + 4, *edge, *edge, *edge), (count, 3, 3), (count, 3)]
    if not fits or not all(bool(one.isfinite().all()) for one in (cube, rotation, translation)):
        found = f"cube, rotations and shifts of shapes {shapes}"
        raise DataError(path, found, "(parts + 4, n, n, n), (parts, 3, 3), (parts, 3), all finite", fix)
    turns = rotation.double() @ rotation.double().mT - torch.eye(3, dtype=torch.float64)
    if bool((turns.abs() > _ROTATION_TOLERANCE).any()) or bool((torch.linalg.det(rotation.double()) < 0).any()):
        raise DataError(path, "parts whose `rotation` is no rotation", "orthonormal matrices, not mirrored", fix)
    if parts not in (None, count):
        raise DataError(path, f"an object of {count} rigid part(s)", f"the run's {parts}", fix)
    if side not in (None, len(cube[0])):
        raise DataError(path, f"a cube of {len(cube[0])} voxels along an edge", f"the run's {side}", fix)
    if network not in (None, maker):
        found = "an identity of another run, or of this run before it was trained further"
        raise DataError(path, found, "one fitted with the last checkpoint of this run", fix)
    return cube, PartPoses(rotation[None], translation[None])
