"""`ns-avatar animate`: renders a trained person in a motion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nerfstudio_avatars.avatars.film import Shot, film
from nerfstudio_avatars.cli.run_option import AvatarOption


@dataclass(kw_only=True)
class Animate(Shot, AvatarOption):
    """Renders a trained person in a motion, as an mp4 video or as PNG files."""

    output: Path = Path("renders/animation.mp4")
    """File to write an mp4 video to, or folder to write PNG files to."""

    def run(self) -> None:
        """Renders with a progress bar that tells the time left."""
        from nerfstudio_avatars.avatars.avatar import Avatar
        from nerfstudio_avatars.avatars.run import find_run
        from nerfstudio_avatars.media.frame_writer import check_output

        self.check()
        config = find_run(self.load_config)
        check_output(self.output, self.transparent)
        count = film(Avatar.load(config), self, self.output)
        print(f"Rendered {count} frames of {self.motion!r}, {self.camera} camera: {self.output}")
