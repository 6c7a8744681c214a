"""A trained person: loaded, moved, rendered, filmed, turned into triangles."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfstudio_avatars.avatars.film import Shot, film, posed_picture
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.motion.choices import UpOrAuto

if TYPE_CHECKING:
    import numpy as np
    from nerfstudio.cameras.cameras import Cameras

    from nerfstudio_avatars.avatars.mesh import ColouredMesh
    from nerfstudio_avatars.avatars.run import LoadedRun
    from nerfstudio_avatars.bodies.body_model import BodyModel, BodyState
    from nerfstudio_avatars.bodies.body_sequence import BodySequence
    from nerfstudio_avatars.instant_avatar.model import InstantAvatarModel
    from nerfstudio_avatars.instant_avatar.surface import Surface

__all__ = ["Avatar"]

_OF_MOTION_FILES = frozenset({"motion", "up", "person", "joint_map"})
"""Options of a `Shot` that say which motion is shown, and how its file is read."""


class Avatar:
    """A person that `instant-avatar` has learnt. Everything is in the world frame: metres, z up.

    Args:
        run: opened; `Avatar.load` opens one.

    Raises:
        UserError: if the run is of another method.
    """

    def __init__(self, run: LoadedRun) -> None:
        from nerfstudio_avatars.instant_avatar.model import InstantAvatarModel

        if not isinstance(run.model, InstantAvatarModel):
            raise UserError(
                f"{run.checkpoint}: a run of {run.config.method}, which has no skeleton. Expected one of "
                "instant-avatar; what unsup-volanim has learnt is moved by a clip: LearntKind, or ns-avatar drive."
            )
        self.run = run
        self.model: InstantAvatarModel = run.model

    @classmethod
    def load(cls, path: str | Path) -> Avatar:
        """Opens a finished run. The data that it was trained on are not needed.

        Args:
            path: the run's folder, the config.yml in it, or a portable avatar (.avatar).

        Raises:
            UserError: no run, no checkpoint, a damaged file, one of another method, or an SMPL body that is not found.
        """
        from nerfstudio_avatars.avatars.run import load_run

        return cls(load_run(path))

    @property
    def body(self) -> BodyModel:
        """The body under the avatar."""
        return self.model.person.body

    @property
    def video(self) -> BodySequence:
        """The motion of the video that the avatar was learnt from, as its data give it."""
        return self.model.person.motion

    def refined_video(self) -> BodySequence:
        """The motion of the video as the training refined it, for other programs and `export`.

        It holds the corrections that belong to the avatar, which `render` and `film` add to every motion: they show
        `video` right.
        """
        return self.model.poses.refined(self.video)

    def motion(
        self,
        name_or_path: str | Path = "walk",
        *,
        up: UpOrAuto = "auto",
        person: str | None = None,
        joint_map: Path | None = None,
    ) -> BodySequence:
        """A motion for this person: with their shape, in the world frame.

        Args:
            name_or_path: a shipped motion (`walk`, `run`, `dance_a`, `cartwheel`, `spinkick`, `crawl`), a motion file,
                `training` for the motion of the video, or `still` for its first pose.
            up: axis that points up in the file.
            person: name or number of the person in a file that holds several.
            joint_map: JSON file of SMPL's joints and a skeleton's names for them, for BVH and glTF files.

        Raises:
            DataError: no such motion, or a file that cannot be read.
        """
        from nerfstudio_avatars.motion.joint_map import read_joint_map
        from nerfstudio_avatars.motion.loading import choose_motion

        mapped = None if joint_map is None else read_joint_map(joint_map)
        return choose_motion(str(name_or_path), self.video, self.body, up, person, joint_map=mapped)

    def render(
        self, pose: BodyState, *, azimuth: float = 0.0, elevation: float = 5.0, size: int | tuple[int, int] = 540
    ) -> np.ndarray:
        """A picture of the person from the side, all of them in it.

        Args:
            pose: a frame of a motion, `walk[10]`.
            azimuth: degrees; 0 is in front of the person in the training video, 90 to their left.
            elevation: degrees above the horizon.
            size: height and width in pixels, or one number for both.

        Returns:
            (height, width, 4), 8 bits: straight colours, and how opaque the person is.
        """
        from nerfstudio_avatars.avatars.film import cameras_around

        height, width = (size, size) if isinstance(size, int) else size
        shot = Shot(azimuth=azimuth, elevation=elevation, height=height, width=width)
        shot.check()
        return self.render_camera(pose, cameras_around(self.body, [pose], shot))

    def render_camera(self, pose: BodyState, camera: Cameras) -> np.ndarray:
        """A picture from any camera of nerfstudio's, (height, width, 4), as `render` gives it."""
        return posed_picture(self.model, camera, pose, Shot(transparent=True))

    def film(self, motion: BodySequence, output: str | Path, **shot: Any) -> int:
        """Films a motion.

        Args:
            motion: in the world frame, as `motion` gives it.
            output: an .mp4 file, or a folder for PNG files.
            shot: options of `Shot`, such as `camera="turning"`, `seconds`, `fps`, `azimuth`, `height` and `width`.

        Returns:
            The number of pictures.

        Raises:
            UserError: an output that cannot be written, or an option that chooses or reads a motion, which `motion`
                has done.
        """
        reading = sorted(shot.keys() & _OF_MOTION_FILES)
        if reading:
            raise UserError(f"{', '.join(reading)}: these say how a motion file is read. Give them to Avatar.motion.")
        chosen = replace(Shot(), **shot)
        chosen.check()
        return film(self, chosen, Path(output), motion)

    def export(self, output: str | Path, **options: Any) -> str:
        """Takes the person, or a motion, out of the program.

        Args:
            output: the file, whose ending tells the format.
            options: those of `ExportOptions`, such as `motion=("walk", "dance_a")`.

        Returns:
            What was written, in a few words.

        Raises:
            UserError: another ending, an option out of range, or a file that cannot be written.
        """
        from nerfstudio_avatars.avatars.exporting import ExportOptions, export

        return export(self.run, Path(output), ExportOptions(**options))

    def mesh(self, pose: BodyState | None = None) -> ColouredMesh:
        """The person's surface as triangles. Takes seconds the first time.

        Args:
            pose: a frame of a motion, which puts the mesh into the world frame; by default the A-pose in which the
                avatar is stored, in its own axes: metres, y up.

        Raises:
            UserError: if there is no surface, because the run was hardly trained.
        """
        from nerfstudio_avatars.avatars.mesh import coloured_mesh

        return coloured_mesh(self.model, self._surface, pose)

    @cached_property
    def _surface(self) -> Surface:
        from nerfstudio_avatars.avatars.mesh import whole_surface

        return whole_surface(self.model)
