"""`ns-avatar invert`: somebody new, from one or several pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nerfstudio_avatars.cli.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from nerfstudio_avatars.cli.run_config import LoadedRun
    from nerfstudio_avatars.deformations.volumetric_skinning import PartPoses
    from nerfstudio_avatars.models.identity_inversion import InvertedIdentity
    from nerfstudio_avatars.models.unsup_volanim import UnsupVolanimModel

ENDING = ".npz"
MOST_PICTURES = 64
"""Of longer clips so many, evenly spread."""
GHOSTS = "the background may keep ghosts of the object"
LEAST_PERSON = 0.03
"""Share of the pictures below which nobody was found."""
FAR_OFF = 0.12
"""Mean absolute error (colours 0 to 1) of pictures that show something else than the run has learnt."""


@dataclass
class Invert:
    """Finds an identity that `unsup-volanim` was not trained on, and keeps it in a file for `ns-avatar animate`."""

    load_config: Path
    """The run's config.yml, or its folder."""
    image: tuple[Path, ...]
    """One or several pictures of one person, or a clip (mp4, gif, folder), framed as the training's clips are."""
    output: Path = Path("identity.npz")
    """File for the identity."""
    mask: tuple[Path, ...] = ()
    """A mask for each --image (a picture, or a folder or video for a clip), white where the object is; by default the
    pictures' own transparency or, if the run was trained with masks, what looks like a person."""
    code_steps: int | None = None
    """Steps of the first stage, which looks for the code; by default the run's."""
    tune_steps: int | None = None
    """Steps of the second stage, which tunes the generator; by default the run's."""
    trust: bool = False
    """Open the configuration even if it names things from outside nerfstudio and this package."""

    def run(self) -> None:
        """Finds it, with a progress bar."""
        from nerfstudio_avatars.cli.output_place import check_file
        from nerfstudio_avatars.cli.run_config import find_config, load_run

        if self.output.suffix != ENDING:
            raise UserError(f"{self.output}: expected a file name that ends in {ENDING}.")
        if not self.image:
            raise UserError("--image: no picture was named. Expected one or several, or a clip.")
        for name in ("code_steps", "tune_steps"):
            steps = getattr(self, name)
            if steps is not None and steps < 0:
                raise UserError(f"--{name.replace('_', '-')} {steps}: expected a number of steps, 0 or more.")
        config = find_config(self.load_config)
        check_file(self.output)
        run = load_run(config, self.trust)
        model = volanim_model(run)
        if self.code_steps is not None:
            model.config.inversion.code_steps = self.code_steps
        if self.tune_steps is not None:
            model.config.inversion.tune_steps = self.tune_steps
        found = find_identity(run, self.image, self.mask)
        save_identity(found, self.output)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in found.errors.items())
        if found.errors["tuned"] > FAR_OFF:
            print("The run can hardly draw these pictures: do they show its kind of object, framed as its clips are?")
        print(f"Mean absolute error of the pictures: {shown}. Identity: {self.output}")


def volanim_model(run: LoadedRun) -> UnsupVolanimModel:
    """The run's model.

    Raises:
        UserError: if it is one of another method.
    """
    from nerfstudio_avatars.models.unsup_volanim import UnsupVolanimModel

    model = run.pipeline.model
    if not isinstance(model, UnsupVolanimModel):
        raise UserError(
            f"{run.checkpoint}: a run of {run.config.method_name}. Expected one of unsup-volanim(-tiny): "
            "only these find identities in pictures and take a driving clip."
        )
    return model


def find_identity(run: LoadedRun, images: tuple[Path, ...], masks: tuple[Path, ...] = ()) -> InvertedIdentity:
    """Fits an identity to pictures, with a progress bar.

    Args:
        masks: one for each of the images, or none.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    model = volanim_model(run)
    pictures, objects = _read_pictures(model, images, masks)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task("Finding the identity", total=None)
        return model.invert(pictures, lambda done, total: progress.update(task, completed=done, total=total), objects)


def _read_pictures(
    model: UnsupVolanimModel, images: tuple[Path, ...], masks: tuple[Path, ...]
) -> tuple[Tensor, Tensor | None]:
    """Some of the pictures, and what of them is the object: as given, by their transparency, or found."""
    import torch

    from nerfstudio_avatars.data.clips.loose_clip import read_loose_clip, read_loose_masks
    from nerfstudio_avatars.data.clips.person_masks import SIDE, person_masks

    if masks and len(masks) != len(images):
        raise UserError(f"--mask: {len(masks)} for {len(images)} --image. Expected one for each, or none.")
    size = model.kwargs["metadata"]["size"]
    pictures = torch.cat([read_loose_clip(path, size)[0] for path in images]).float() / 255
    chosen = torch.arange(len(pictures))
    if len(chosen) > MOST_PICTURES:
        chosen = torch.linspace(0, len(pictures) - 1, MOST_PICTURES).round().long()
    given = [
        read_loose_masks(path, size, mask) for path, mask in zip(images, masks or [None] * len(images), strict=True)
    ]
    known = [one for one in given if one is not None]
    if len(known) == len(images):
        return pictures[chosen], torch.cat(known)[chosen].float() / 255
    if not model.kwargs["metadata"].get("has_masks"):
        print(f"Without masks ({GHOSTS}); the run was trained without, too. Give some with --mask.")
        return pictures[chosen], None
    try:
        found = person_masks(torch.cat([read_loose_clip(path, SIDE)[0] for path in images])[chosen], size)
    except ModuleNotFoundError as error:
        print(f"Without masks ({GHOSTS}): {error}. Or give some with --mask.")
        return pictures[chosen], None
    if found.float().mean() < LEAST_PERSON * 255:
        print(f"Without masks ({GHOSTS}): no person was found. Give some with --mask.")
        return pictures[chosen], None
    print("What looks like a person is taken for the object; say otherwise with --mask.")
    return pictures[chosen], found.float() / 255


def save_identity(identity: InvertedIdentity, path: Path) -> None:
    """Writes code, cube and the pose in the first picture, in one step."""
    import os

    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            arrays = {
                "code": identity.code,
                "cube": identity.cube.float(),
                "rotation": identity.pose.rotation[0],
                "translation": identity.pose.translation[0],
            }
            values = {name: one.cpu().numpy() for name, one in arrays.items()}
            np.savez_compressed(file, network=np.array(identity.network), **values)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_identity(path: Path, parts: int | None = None, network: str | None = None) -> tuple[Tensor, PartPoses]:
    """What `save_identity` wrote: the cube, and the pose (1, parts) in the first picture.

    Args:
        parts: that the run has; any by default.
        network: its fingerprint; any by default.

    Raises:
        DataError: if it is no such file, or belongs to another kind of run.
    """
    import zipfile

    import numpy as np
    import torch

    from nerfstudio_avatars.data.errors import DataError
    from nerfstudio_avatars.deformations.volumetric_skinning import PartPoses

    fix = "make it with `ns-avatar invert` and the same run"
    try:
        with np.load(path, allow_pickle=False) as file:
            cube, rotation, translation = (
                torch.from_numpy(file[name].astype(np.float32)) for name in ("cube", "rotation", "translation")
            )
            maker = str(file["network"]) if "network" in file else ""
    except FileNotFoundError as error:
        raise DataError(path, "no such file", "an identity file, .npz", fix) from error
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(path, f"{type(error).__name__}: {error}", "an identity file, .npz", fix) from error
    shapes = [tuple(one.shape) for one in (cube, rotation, translation)]
    count = shapes[1][0] if shapes[1] else 0
    fits = len(shapes[0]) == 4 and shapes == [(count + 4, *shapes[0][1:]), (count, 3, 3), (count, 3)]  # noqa: PLR2004
    if not fits or not all(bool(one.isfinite().all()) for one in (cube, rotation, translation)):
        found = f"cube, rotations and shifts of shapes {shapes}"
        raise DataError(path, found, "(parts + 4, n, n, n), (parts, 3, 3), (parts, 3), all finite", fix)
    if parts not in (None, count):
        raise DataError(path, f"an object of {count} rigid part(s)", f"the run's {parts}", fix)
    if network not in (None, maker):
        found = "an identity of another run, or of this run before it was trained further"
        raise DataError(path, found, "one found with the run's last checkpoint", fix)
    return cube, PartPoses(rotation[None], translation[None])
