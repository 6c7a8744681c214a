"""`ns-avatar invert`: somebody new, from one or several pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nerfstudio_avatars.cli.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from nerfstudio_avatars.cli.run_config import LoadedRun
    from nerfstudio_avatars.models.identity_inversion import InvertedIdentity
    from nerfstudio_avatars.models.unsup_volanim import UnsupVolanimModel

ENDING = ".npz"


@dataclass
class Invert:
    """Finds an identity that `unsup-volanim` was not trained on, and keeps it in a file for `ns-avatar animate`."""

    load_config: Path
    """The run's config.yml, or its folder."""
    image: tuple[Path, ...]
    """One or several pictures of one person, or a clip (mp4, gif, folder), framed as the training's clips are."""
    output: Path = Path("identity.npz")
    """File for the identity."""
    code_steps: int | None = None
    """Steps of the first stage, which looks for the code; by default the run's."""
    tune_steps: int | None = None
    """Steps of the second stage, which tunes the generator; by default the run's."""
    trust: bool = False
    """Open the configuration even if it names things from outside nerfstudio and this package."""

    def run(self) -> None:
        """Finds it, with a progress bar."""
        from nerfstudio_avatars.cli.run_config import load_run

        if self.output.suffix != ENDING:
            raise UserError(f"{self.output}: expected a file name that ends in {ENDING}.")
        run = load_run(self.load_config, self.trust)
        model = volanim_model(run)
        if self.code_steps is not None:
            model.config.inversion.code_steps = self.code_steps
        if self.tune_steps is not None:
            model.config.inversion.tune_steps = self.tune_steps
        found = find_identity(run, self.image)
        save_identity(found, self.output)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in found.errors.items())
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


def find_identity(run: LoadedRun, images: tuple[Path, ...]) -> InvertedIdentity:
    """Fits an identity to pictures, with a progress bar."""
    import torch
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from nerfstudio_avatars.data.clips.loose_clip import read_loose_clip

    model = volanim_model(run)
    size = model.kwargs["metadata"]["size"]
    pictures = torch.cat([read_loose_clip(path, size)[0] for path in images]).float() / 255
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task("Finding the identity", total=None)
        return model.invert(pictures, lambda done, total: progress.update(task, completed=done, total=total))


def save_identity(identity: InvertedIdentity, path: Path) -> None:
    """Writes code and cube, in one step."""
    import os

    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            code, cube = (one.cpu().numpy() for one in (identity.code, identity.cube))
            np.savez_compressed(file, code=code, cube=cube.astype(np.float32))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_identity(path: Path, channels: int) -> Tensor:
    """A cube that `save_identity` wrote.

    Args:
        channels: that the run's cubes have.

    Raises:
        DataError: if it is no such file, or belongs to another kind of run.
    """
    import zipfile

    import numpy as np
    import torch

    from nerfstudio_avatars.data.errors import DataError

    fix = "make it with `ns-avatar invert` and the same run"
    try:
        with np.load(path, allow_pickle=False) as file:
            cube = torch.from_numpy(file["cube"].astype(np.float32))
    except FileNotFoundError as error:
        raise DataError(path, "no such file", "an identity file, .npz", fix) from error
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(path, f"{type(error).__name__}: {error}", "an identity file, .npz", fix) from error
    if cube.ndim != 4 or len(cube) != channels or not bool(torch.isfinite(cube).all()):  # noqa: PLR2004
        raise DataError(path, f"a cube of shape {tuple(cube.shape)}", f"{channels} channels of finite voxels", fix)
    return cube
