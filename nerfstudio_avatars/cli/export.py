"""`ns-avatar export`: takes a trained person or face, or a motion, out of the program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nerfstudio_avatars.avatars.exporting import ExportOptions


@dataclass(kw_only=True)
class FromAndTo:
    """A base class, because the options of base classes come first in the help."""

    output: Path
    """File to write, whose ending tells the format: .glb, .html, .vrm, .ply, .obj, .avatar, .bvh or .npz."""
    load_config: Path | None = None
    """Trained run to open: its folder, the config.yml in it, or a portable avatar (.avatar).
    Without one, a motion file is written as another, on the skeleton of the stand-in body."""


@dataclass(kw_only=True)
class Export(ExportOptions, FromAndTo):
    """Writes a trained person or face, or a motion, into one file that other programs open."""

    def run(self) -> None:
        """Writes the file."""
        from nerfstudio_avatars.avatars.exporting import export
        from nerfstudio_avatars.avatars.run import load_run
        from nerfstudio_avatars.files import check_file

        self.check()
        self.format_of(self.output)
        check_file(self.output)
        run = load_run(self.load_config) if self.load_config else None
        print(f"Exported {export(run, self.output, self)}: {self.output}")
