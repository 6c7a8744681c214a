"""`ns-avatar invert`: somebody new, from one or several pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nerfstudio_avatars.avatars.identity import ENDING, find_identity, save_identity, volanim_model
from nerfstudio_avatars.errors import UserError

if TYPE_CHECKING:
    pass

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
        from nerfstudio_avatars.avatars.run import find_config, load_run
        from nerfstudio_avatars.files import check_file

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
