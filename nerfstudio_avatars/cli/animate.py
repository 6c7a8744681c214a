"""`ns-avatar animate`: a trained person in a motion, or anything that a clip moves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nerfstudio_avatars.cli.shot import Shot, film

if TYPE_CHECKING:
    from nerfstudio_avatars.cli.run_config import LoadedRun


@dataclass(kw_only=True)
class Animate(Shot):
    """Renders a trained avatar in a motion, from a still or a turning camera, to an mp4 or to PNGs."""

    load_config: Path
    """The run's config.yml, or its folder."""
    output: Path = Path("renders/animation.mp4")
    """An .mp4 file, or a folder for PNGs."""
    trust: bool = False
    """Open the configuration even if it names things from outside nerfstudio and this package."""
    driving: str | None = None
    """For unsup-volanim: a clip (mp4, gif, folder of pictures), or a clip's name in the data."""
    identity: str | None = None
    """For unsup-volanim: who is moved; a name in the data, a file of `ns-avatar invert`, or `random:NUMBER` for
    somebody who does not exist."""
    image: tuple[Path, ...] = ()
    """For unsup-volanim: pictures of somebody new, who is moved."""
    mask: tuple[Path, ...] = ()
    """For unsup-volanim: a mask for each --image, white where the object is; by default those of people are found."""
    relative: bool = False
    """For unsup-volanim: start from the pose in the first picture of whom is moved, and only change it as the clip
    does."""
    yaw: float = 0.0
    """For unsup-volanim: turn of the head to the side, degrees."""

    def run(self) -> None:
        """Renders with a progress bar that tells the time left."""
        from nerfstudio_avatars.cli.frame_writer import check_output
        from nerfstudio_avatars.cli.run_config import find_config, load_run

        self.check()
        config = find_config(self.load_config)
        check_output(self.output, self.transparent)
        run = load_run(config, self.trust)
        asked = (self.driving, self.identity, self.image, self.mask, self.relative, self.yaw)
        if any(asked) or _is_driven(run):
            from nerfstudio_avatars.cli.drive import drive

            drive(run, self)
            return
        count = film(run, self, self.output)
        print(f"Rendered {count} frames of {self.motion!r}, {self.camera} camera: {self.output}")


def _is_driven(run: LoadedRun) -> bool:
    """Whether a run's model is moved by clips, not by poses."""
    from nerfstudio_avatars.models.unsup_volanim import UnsupVolanimModel

    return isinstance(run.pipeline.model, UnsupVolanimModel)
