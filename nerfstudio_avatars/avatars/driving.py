"""Films of an identity that is moved by a driving clip."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nerfstudio_avatars.avatars.driving_clip import CURVES, DrivingClip, check_curves, load_curves, save_curves
from nerfstudio_avatars.avatars.identity import (
    ENDING,
    Identity,
    check_rounds,
    find_identity,
    load_identity,
    volanim_model,
)
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.progress import progress_bar

if TYPE_CHECKING:
    import numpy as np
    from nerfstudio.cameras.cameras import Cameras
    from torch import Tensor

    from nerfstudio_avatars.avatars.run import LoadedRun
    from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel
    from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

SIDE = 256
"""Default height and width of the pictures in pixels; the model has no finer detail."""
_SWING = math.radians(25)
"""Angle in radians that a turning camera goes to each side."""
_RANDOM = "random"
"""Prefix of the name of a random identity."""
_LONGEST_SEED = 18
"""Digits of a random identity's number."""


@dataclass(kw_only=True)
class DrivenShot:
    """The identity to film, the clip that moves it, and the camera."""

    driving: str
    """Clip to take the motion from: a video, a GIF, a folder of pictures, or the name of a clip in the data set.
    A file of --save-motion (.npz or .json) moves anybody as that clip does, without being looked at again."""
    identity: str | None = None
    """Identity to move: a name in the data set, a file from `ns-avatar invert`, or `random:NUMBER` for a random one."""
    image: tuple[Path, ...] = ()
    """Pictures of somebody the run was not trained on, who is moved in place of --identity."""
    mask: tuple[Path, ...] = ()
    """Mask of each --image, white where the object is; if none is given, people are found automatically."""
    rounds: int | None = None
    """Number of rounds to fit somebody in --image in, such as 20, which takes seconds; by default that of the run.
    With 0, it is done in two stages, which take minutes."""
    relative: bool = False
    """Whether to start from the pose in the identity's first picture, and to apply only the clip's changes of pose."""
    yaw: float = 0.0
    """Angle to turn the object to the side by in all pictures, in degrees."""
    pitch: float = 0.0
    """Angle to turn the object up by in all pictures, in degrees."""
    camera: str = "still"
    """Camera to film with: `still`, `turning`, which swings from side to side, or the JSON file of a camera path.
    Camera paths come from nerfstudio's viewer."""
    fit_rounds: int = 0
    """Number of rounds in which the poses that were found in the clip are fitted to its pictures.
    It needs a clip of the data set, because who is seen there is known."""
    seconds: float | None = None
    """Length of the clip to use, in seconds; by default all of it."""
    height: int | None = None
    """Height of the rendered pictures in pixels; by default 256, or that of the camera path."""
    width: int | None = None
    """Width of the rendered pictures in pixels; by default the same as their height, or that of the camera path."""
    save_motion: Path | None = None
    """File to write the poses of the parts and of the whole to, frame by frame, ending in .npz or .json.
    They are those that are shown: after --relative, but before --yaw, --pitch and the camera."""

    def check(self) -> None:
        """Raises `UserError` for values that are out of range or contradict each other."""
        for name in ("height", "width", "seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"--{name} {value}: expected a number above zero.")
        for name in ("yaw", "pitch"):
            if not math.isfinite(getattr(self, name)):
                raise UserError(f"--{name} {getattr(self, name)}: expected an angle in degrees.")
        if self.image and self.identity is not None:
            raise UserError("--identity and --image: expected only one of them, because each says who is moved.")
        if self.fit_rounds < 0:
            raise UserError(f"--fit-rounds {self.fit_rounds}: expected a number that is not below zero.")
        check_rounds(self.rounds)
        if self.rounds is not None and not self.image:
            raise UserError("--rounds: expected --image as well; only somebody in pictures has to be fitted.")
        if self.mask and not self.image:
            raise UserError("--mask: expected --image as well; a mask shows where the object is in these pictures.")
        if self.save_motion is not None:
            check_curves(self.save_motion)


def drive(run: LoadedRun, shot: DrivenShot, output: Path) -> int:
    """Renders an identity moved by a clip.

    Args:
        run: a run of `unsup-volanim`.
        shot: what to show.
        output: an .mp4 file, or a folder for PNGs.

    Returns:
        The number of frames.

    Raises:
        UserError: if identity or clip is missing or unknown, or if the options cannot be combined.
    """
    model = volanim_model(run)
    shot.check()
    if shot.image:
        found = find_identity(run, shot.image, shot.mask, shot.rounds)
        identity = Identity(found.cube, found.pose, found)
    else:
        identity = chosen_identity(model, shot.identity)
    return film_driven(model, identity, shot, output)


def film_driven(model: UnsupVolanimModel, identity: Identity, shot: DrivenShot, output: Path) -> int:
    """Renders an identity moved by a shot's clip; see `drive`.

    Args:
        model: trained.
        identity: whom to show, whatever the shot says.
        shot: what to show.
        output: an .mp4 file, or a folder for PNGs.
    """
    from nerfstudio_avatars.media.frame_writer import FrameWriter, check_output

    check_output(output, transparent=False)
    if shot.relative and identity.pose is None:
        raise UserError("--relative: a random identity has no picture, so there is no pose to start from.")
    clip = driving_poses(model, shot.driving, shot.seconds, shot.fit_rounds)
    poses = relative_motion(clip.poses, identity.pose) if shot.relative and identity.pose else clip.poses
    if shot.save_motion is not None:
        save_curves(DrivingClip(poses, clip.fps), model, shot.save_motion)
    with FrameWriter(output, max(round(clip.fps), 1)) as writer, progress_bar("Rendering") as bar:
        for count, frame in enumerate(_frames(model, identity.cube, poses, shot), 1):
            writer.write(frame)
            bar(count, len(poses))
    return len(poses)


def relative_motion(driving: list[PartPoses], source: PartPoses) -> list[PartPoses]:
    """The source's pose, changed as the driver's changes from its first frame: P = D(t) D(0)^-1 S for each part."""
    back = driving[0].inverse()
    return [pose.after(back).after(source) for pose in driving]


def _frames(model: UnsupVolanimModel, cube: Tensor, poses: list[PartPoses], shot: DrivenShot) -> Iterator[np.ndarray]:
    cameras = _cameras(model, shot, len(poses))
    for number in range(len(poses)):
        # A camera path's render times say which moment of the clip is shown.
        share = None if shot.camera in ("still", "turning") or cameras.times is None else cameras.times[number]
        pose = poses[number if share is None else round(float(share) * (len(poses) - 1))]
        swing = _SWING * math.sin(2 * math.pi * number / len(poses)) if shot.camera == "turning" else 0.0
        turned = model.network.turned(cube, pose, math.radians(shot.yaw) + swing, math.radians(shot.pitch))
        yield driven_picture(model, cameras[number : number + 1], cube, turned)


def driven_picture(model: UnsupVolanimModel, camera: Cameras, cube: Tensor, pose: PartPoses) -> np.ndarray:
    """One picture, (height, width, 3), 8 bits per channel."""
    seen = model.render_identity(camera, cube, pose, normals=False)
    return (seen["rgb"].clamp(0, 1) * 255).round().byte().cpu().numpy()


def _cameras(model: UnsupVolanimModel, shot: DrivenShot, count: int) -> Cameras:
    """One camera per frame: the method's own, whose pictures are square, or those of a camera path."""
    from nerfstudio_avatars.avatars.cameras import read_camera_file

    if shot.camera not in ("still", "turning"):
        return read_camera_file(Path(shot.camera), shot.height, shot.width).resampled(count)
    return still_cameras(model, count, min(shot.height or SIDE, shot.width or SIDE))


def still_cameras(model: UnsupVolanimModel, count: int, size: int) -> Cameras:
    """The method's own camera, so many times; pictures are `size` pixels high and wide."""
    import torch

    from nerfstudio_avatars.unsup_volanim.data.clip_cameras import clip_cameras

    return clip_cameras(model.clips.table, torch.zeros(count, 2, dtype=torch.long), size)


def driving_poses(
    model: UnsupVolanimModel, driving: str, seconds: float | None = None, fit_rounds: int = 0
) -> DrivingClip:
    """The poses in a clip: a file or folder, a file of curves, or a clip of the data set by name.

    Args:
        model: trained.
        driving: the clip.
        seconds: the length to use; by default all.
        fit_rounds: rounds in which poses are fitted to the pictures of a clip of the data set.

    Raises:
        UserError: poses are to be fitted to pictures of nobody who is known.
        DataError: no such clip, or it cannot be read.
    """
    from nerfstudio_avatars.unsup_volanim.data.loose_clip import read_loose_clip
    from nerfstudio_avatars.unsup_volanim.fitted_clip import fit_clip

    clips = model.clips.table
    names = [clip.name for clip in clips]
    if driving in names and not Path(driving).exists():
        number = names.index(driving)
        clip = clips[number]
        count = clip.frames if seconds is None else min(clip.frames, max(1, round(seconds * clip.fps)))
        return DrivingClip(fit_clip(model, number, range(count), fit_rounds), clip.fps)
    if fit_rounds:
        raise UserError(
            f"--fit-rounds {fit_rounds}: expected a clip of the data set as --driving, but {driving} is none. Poses "
            "are fitted by comparing pictures with renderings of who is seen in them."
        )
    if driving.lower().endswith(CURVES):
        return load_curves(Path(driving), model, seconds)
    frames, fps = read_loose_clip(Path(driving), model.clips.size, seconds)
    return DrivingClip([model.pose_of_picture(frame.float() / 255) for frame in frames], fps)


def chosen_identity(model: UnsupVolanimModel, name: str | None) -> Identity:
    """An identity by name: of the data set, of a file, or a random one.

    Raises:
        UserError: there is none of this name.
    """
    names = model.clips.identities
    if name in names:
        number = names.index(name)
        return Identity(model.cube_of_identity(number), model.driving_pose(model.clips.clip_of_identity(number), 0))
    if name is not None and name.endswith(ENDING):
        network = model.network
        cube, pose = load_identity(Path(name), network.parts, network.fingerprint(), network.cube_side)
        return Identity(cube.to(model.device), pose.to(model.device))
    kind, _, seed = (name or "").partition(":")
    if kind == _RANDOM and seed.isdecimal() and len(seed) <= _LONGEST_SEED:
        return Identity(model.random_cube(int(seed)))
    raise UserError(
        f"--identity {name}: expected a file of `ns-avatar invert` ({ENDING}), a name of the data set: "
        f"{_some(names)}; or {_RANDOM}:NUMBER, at most {_LONGEST_SEED} digits, for nobody who exists; or give --image "
        "with a picture of somebody new."
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
