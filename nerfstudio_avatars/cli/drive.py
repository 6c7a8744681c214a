"""`ns-avatar drive`: somebody moved by another's clip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nerfstudio_avatars.avatars.driving import DrivenShot, drive


@dataclass(kw_only=True)
class Drive(DrivenShot):
    """Moves a face, or whatever `unsup-volanim` has learnt, by another's video, and renders an mp4 or PNGs."""

    load_config: Path
    """The run to open: its folder, or the config.yml in it."""
    output: Path = Path("renders/driven.mp4")
    """The .mp4 file to write, or a folder for PNGs."""
    trust: bool = False
    """Open the configuration even if it names things from outside nerfstudio and this package."""

    def run(self) -> None:
        """Renders with a progress bar that tells the time left."""
        from nerfstudio_avatars.avatars.run import find_config, load_run
        from nerfstudio_avatars.media.frame_writer import check_output

        self.check()
        config = find_config(self.load_config)
        check_output(self.output, transparent=False)
        count = drive(load_run(config, self.trust), self, self.output)
        print(f"Rendered {count} frames: {self.output}")
