"""`ns-avatar drive`: moves an identity by a driving video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nerfstudio_avatars.avatars.driving import DrivenShot, drive
from nerfstudio_avatars.cli.run_option import AvatarOption


@dataclass(kw_only=True)
class Drive(DrivenShot, AvatarOption):
    """Renders a face, or another object that `unsup-volanim` has learnt, moving as in a driving video."""

    output: Path = Path("renders/driven.mp4")
    """File to write an mp4 video to, or folder to write PNG files to."""

    def run(self) -> None:
        """Renders with a progress bar that tells the time left."""
        from nerfstudio_avatars.avatars.run import find_run, load_run
        from nerfstudio_avatars.media.frame_writer import check_output

        self.check()
        config = find_run(self.load_config)
        check_output(self.output, transparent=False)
        count = drive(load_run(config), self, self.output)
        print(f"Rendered {count} frames: {self.output}")
