"""`ns-avatar animate`: a trained person in a motion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nerfstudio_avatars.avatars.film import Shot, film


@dataclass(kw_only=True)
class Animate(Shot):
    """Renders a trained avatar in a motion, from a still or a turning camera, to an mp4 or to PNGs."""

    load_config: Path
    """The run's config.yml, or its folder."""
    output: Path = Path("renders/animation.mp4")
    """An .mp4 file, or a folder for PNGs."""
    trust: bool = False
    """Open the configuration even if it names things from outside nerfstudio and this package."""

    def run(self) -> None:
        """Renders with a progress bar that tells the time left."""
        from nerfstudio_avatars.avatars.run import find_config, load_run
        from nerfstudio_avatars.media.frame_writer import check_output

        self.check()
        config = find_config(self.load_config)
        check_output(self.output, self.transparent)
        run = load_run(config, self.trust)
        count = film(run, self, self.output)
        print(f"Rendered {count} frames of {self.motion!r}, {self.camera} camera: {self.output}")
