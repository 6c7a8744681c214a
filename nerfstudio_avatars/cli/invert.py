"""`ns-avatar invert`: fits a new identity to one or several pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nerfstudio_avatars.avatars.identity import ENDING, check_rounds, find_identity, save_identity, volanim_model
from nerfstudio_avatars.errors import UserError

_FAR_OFF = 0.12
"""Mean absolute error, for colours from 0 to 1, above which pictures probably show an unknown kind of object."""


@dataclass
class Invert:
    """Fits an identity to pictures of a person the run was not trained on, and saves it for `ns-avatar drive`."""

    load_config: Path
    """Trained run to open: its folder, the config.yml in it, or a portable avatar (.avatar)."""
    image: tuple[Path, ...]
    """Pictures of one person, or a clip (mp4, GIF or folder), framed like the clips that the run was trained on."""
    output: Path = Path("identity.npz")
    """File to write the identity to, ending in .npz."""
    mask: tuple[Path, ...] = ()
    """Mask of each --image, white where the object is: a picture, or a folder or video for a clip.
    If none is given, the pictures' transparency is used or, if the run was trained with masks, a person is found."""
    rounds: int | None = None
    """Number of rounds of a fitting that takes seconds, such as 20, instead of both stages; by default that of the run.
    It fits voxels and poses to the pictures together, from the average identity; 0 goes through the stages."""
    code_steps: int | None = None
    """Number of steps in the first stage, which fits the identity code; by default that of the run."""
    tune_steps: int | None = None
    """Number of steps in the second stage, which tunes the generator; by default that of the run."""

    def run(self) -> None:
        """Fits the identity, with a progress bar."""
        from nerfstudio_avatars.avatars.run import find_run, load_run
        from nerfstudio_avatars.files import check_file

        if self.output.suffix != ENDING:
            raise UserError(f"{self.output}: expected a file name that ends in {ENDING}.")
        if not self.image:
            raise UserError("--image: expected one or more pictures, or a clip.")
        check_rounds(self.rounds)
        for name in ("code_steps", "tune_steps"):
            steps = getattr(self, name)
            if steps is not None and steps < 0:
                raise UserError(f"--{name.replace('_', '-')} {steps}: expected 0 or more steps.")
        config = find_run(self.load_config)
        check_file(self.output)
        run = load_run(config)
        model = volanim_model(run)
        if self.code_steps is not None:
            model.config.inversion.code_steps = self.code_steps
        if self.tune_steps is not None:
            model.config.inversion.tune_steps = self.tune_steps
        found = find_identity(run, self.image, self.mask, self.rounds)
        save_identity(found, self.output)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in found.errors.items())
        if found.errors["tuned"] > _FAR_OFF:
            print(
                "The pictures are reconstructed badly. Check that they show the kind of object that the run was "
                "trained on, framed alike."
            )
        print(f"Mean absolute error of the pictures: {shown}. Identity: {self.output}")
