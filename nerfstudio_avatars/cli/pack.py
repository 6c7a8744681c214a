"""`ns-avatar pack`: decodes clips once, into files that training reads at random."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.progress import progress_bar


@dataclass
class Pack:
    """Packs clips into files from which `ns-train unsup-volanim` reads frames without decoding anything.

    Frames are cropped, resized and masked as in training. An interrupted packing goes on when its command is typed
    again.
    """

    clips: Annotated[Path, tyro.conf.Positional]
    """Folder of the data set, as given to `ns-train --data`, or with --check a packed folder."""
    output: Annotated[Path | None, tyro.conf.Positional] = None
    """Folder to write the shards to."""
    size: int = 256
    """Side length of the square frames in pixels, which is the most that training can ask for."""
    kind: Literal["clips", "pictures"] = "clips"
    """Kind of the data: `clips` are videos or folders of frames.
    With `pictures`, each picture is an identity of its own, as for the dataparser image-folders."""
    shard_mb: int = 512
    """Size of a shard in megabytes; all but the one that was being written survive an interruption."""
    check: bool = False
    """Whether to compare a packed folder with its checksums, instead of packing."""

    def run(self) -> None:
        """Packs or checks, and says what is left out or damaged."""
        if self.check:
            self._check()
            return
        from nerfstudio_avatars.unsup_volanim.data.clip_folders import find_clips, find_picture_clips
        from nerfstudio_avatars.unsup_volanim.data.dataparsers import TABLES
        from nerfstudio_avatars.unsup_volanim.data.packing import pack_clips
        from nerfstudio_avatars.unsup_volanim.data.shards import is_packed

        if self.output is None:
            raise UserError("expected two folders: ns-avatar pack CLIPS OUT.")
        for name in ("size", "shard_mb"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: expected at least 1.")
        if is_packed(self.clips):
            raise UserError(f"{self.clips}: is packed already. Expected videos or folders of frames.")
        found = (find_clips if self.kind == "clips" else find_picture_clips)(self.clips)
        tables = [self.clips / name for name in TABLES if (self.clips / name).is_file()]
        with progress_bar("Packing clips") as bar:
            packed = pack_clips(found, self.output, self.size, self.shard_mb, tables, bar)
        for error in packed.left_out:
            print(f"Left out: {error.file}: {error.found}")
        print(
            f"Packed {packed.clips} clips, {packed.frames} frames of {self.size}x{self.size}, "
            f"{packed.bytes / 1e6:.0f} MB: {self.output}"
        )

    def _check(self) -> None:
        from nerfstudio_avatars.unsup_volanim.data.packing import damaged_clips

        with progress_bar("Reading shards") as bar:
            damaged = damaged_clips(self.clips, bar)
        if damaged:
            shown = "".join(f"\n  {name}" for name in damaged[:20])
            raise UserError(f"{self.clips}: {len(damaged)} clips are damaged; pack them again:{shown}")
        print(f"All checksums fit: {self.clips}")
