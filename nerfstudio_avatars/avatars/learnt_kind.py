"""A kind of object that was learnt from many clips, such as heads. Its identities can be moved by any clip."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfstudio_avatars.avatars.driving import DrivenShot, chosen_identity, driving_poses, film_driven
from nerfstudio_avatars.avatars.identity import Identity, find_identity, volanim_model

if TYPE_CHECKING:
    import numpy as np

    from nerfstudio_avatars.avatars.driving_clip import DrivingClip
    from nerfstudio_avatars.avatars.run import LoadedRun
    from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

__all__ = ["LearntKind"]


class LearntKind:
    """A kind of object that `unsup-volanim` has learnt. Each of its identities can be moved by any clip.

    Args:
        run: an opened run; `LearntKind.load` opens one.

    Raises:
        UserError: if the run comes from another method.
    """

    def __init__(self, run: LoadedRun) -> None:
        self.run = run
        self.model = volanim_model(run)

    @classmethod
    def load(cls, path: str | Path) -> LearntKind:
        """Opens a finished run. The clips that it was trained on are only needed if they drive.

        Args:
            path: the run's folder, the config.yml in it, or a portable avatar (.avatar).

        Raises:
            UserError: if there is no run or no checkpoint, or it comes from another method.
        """
        from nerfstudio_avatars.avatars.run import load_run

        return cls(load_run(path))

    @property
    def identities(self) -> list[str]:
        """Names of the identities that were trained on."""
        return list(self.model.clips.identities)

    def identity(self, *source: str | Path, masks: tuple[str | Path, ...] = (), rounds: int | None = None) -> Identity:
        """Finds an identity to show.

        Args:
            source: one or several pictures, or a clip, of somebody new, which takes a minute; or the name of somebody
                who was trained on, a file of `Identity.save`, or `random:NUMBER` for somebody who does not exist.
            masks: one mask for each picture, white where the object is; without masks, people are found.
            rounds: 20 fit somebody new in seconds; by default as the run's options say, which is in two stages.

        Raises:
            UserError: if there is no identity of this name, or a picture cannot be read.
        """
        name = str(source[0]) if len(source) == 1 else ""
        known = name in self.model.clips.identities or name.startswith("random:") or name.endswith(".npz")
        if known:
            return chosen_identity(self.model, name)
        found = find_identity(self.run, tuple(map(Path, source)), tuple(map(Path, masks)), rounds)
        return Identity(found.cube, found.pose, found)

    def drive(self, clip: str | Path, seconds: float | None = None) -> DrivingClip:
        """The poses in a clip, frame by frame.

        Args:
            clip: a video, a GIF, a folder of pictures, a picture, or the name of a clip of the data set.
            seconds: the length to read from its start; by default all of it.
        """
        return driving_poses(self.model, str(clip), seconds)

    def render(
        self, identity: Identity, pose: PartPoses, *, yaw: float = 0.0, pitch: float = 0.0, size: int = 256
    ) -> np.ndarray:
        """Renders an identity in a pose: (size, size, 3), 8 bits.

        Args:
            identity: the identity to show.
            pose: one of the poses of `drive`.
            yaw: angle in degrees to turn the object to the side by.
            pitch: angle in degrees to turn it up by.
            size: height and width in pixels.
        """
        from nerfstudio_avatars.avatars.driving import driven_picture, still_cameras

        turned = self.model.network.turned(identity.cube, pose, math.radians(yaw), math.radians(pitch))
        return driven_picture(self.model, still_cameras(self.model, 1, size), identity.cube, turned)

    def film(self, identity: Identity, clip: str | Path, output: str | Path, **shot: Any) -> int:
        """Films an identity that moves as a clip does.

        Args:
            identity: the identity to show.
            clip: the driving clip, as in `drive`.
            output: an .mp4 file, or a folder for PNG files.
            shot: options of `DrivenShot`, such as `relative=True`, `yaw`, `camera="turning"`, `seconds` and `height`.

        Returns:
            The number of pictures.
        """
        chosen = replace(DrivenShot(driving=str(clip)), **shot)
        chosen.check()
        return film_driven(self.model, identity, chosen, Path(output))

    def export(self, output: str | Path, **options: Any) -> str:
        """Takes somebody out of the program: as a mesh with the parts as bones (.glb), or a page (.html).

        Args:
            output: the file, whose ending tells the format; one that ends in .avatar holds all that was learnt.
            options: those of `ExportOptions`, such as `identity="anna"` and `motion=("clip.mp4",)`.

        Returns:
            What was written, in a few words.

        Raises:
            UserError: another ending, an option out of range, or a file that cannot be written.
        """
        from nerfstudio_avatars.avatars.exporting import ExportOptions, export

        return export(self.run, Path(output), ExportOptions(**options))
