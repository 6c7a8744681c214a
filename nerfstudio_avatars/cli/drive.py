"""`ns-avatar animate` for `unsup-volanim`: an identity moved by another's clip."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nerfstudio_avatars.cli.errors import UserError
from nerfstudio_avatars.cli.invert import ENDING, find_identity, load_identity, volanim_model
from nerfstudio_avatars.cli.shot import Shot

if TYPE_CHECKING:
    import numpy as np
    from nerfstudio.cameras.cameras import Cameras
    from torch import Tensor

    from nerfstudio_avatars.cli.animate import Animate
    from nerfstudio_avatars.cli.run_config import LoadedRun
    from nerfstudio_avatars.deformations.volumetric_skinning import PartPoses
    from nerfstudio_avatars.models.unsup_volanim import UnsupVolanimModel

SIDE = 256
"""Height and width of the pictures, where nothing else is said, pixels; there is no finer detail to see."""
SWING = math.radians(25)
"""How far a turning camera goes to each side."""
RANDOM = "random"
"""What the name of an identity drawn at random begins with."""
SHARED = frozenset({"camera", "seconds", "height", "width"})
"""What of a `Shot` is meant for this method too; a clip says the rest."""


def drive(run: LoadedRun, shot: Animate) -> int:
    """Renders an identity moved by a clip, into a video or a folder.

    Returns:
        The number of frames.

    Raises:
        UserError: if identity or clip are not given, or unknown, or what is asked for cannot be done.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from nerfstudio_avatars.cli.frame_writer import FrameWriter

    model = volanim_model(run)
    _check(run, shot)
    poses, fps = _driving_poses(model, shot.driving, shot.seconds)
    cube, own = _identity(run, model, shot)
    if shot.relative:
        poses = relative_motion(poses, own)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with FrameWriter(shot.output, max(round(fps), 1)) as writer, Progress(*columns, transient=True) as progress:
        task = progress.add_task("Rendering", total=len(poses))
        for frame in _frames(model, cube, poses, shot):
            writer.write(frame)
            progress.advance(task)
    print(f"Rendered {len(poses)} frames: {shot.output}")
    return len(poses)


def relative_motion(driving: list[PartPoses], source: PartPoses) -> list[PartPoses]:
    """The source's own pose, changed as the driver's is from its first frame on: P = D(t) D(0)^-1 S for each part."""
    back = driving[0].inverse()
    return [pose.after(back).after(source) for pose in driving]


def _check(run: LoadedRun, shot: Animate) -> None:
    for option in dataclasses.fields(Shot):
        if option.name not in SHARED and getattr(shot, option.name) != option.default:
            raise UserError(
                f"--{option.name.replace('_', '-')}: is for people in motions. A run of {run.config.method_name} takes "
                "--driving, --identity or --image, --mask, --relative, --yaw, --camera, --seconds, --height, --width."
            )
    if not math.isfinite(shot.yaw):
        raise UserError(f"--yaw {shot.yaw}: expected degrees.")
    if shot.image and shot.identity is not None:
        raise UserError("--identity and --image: expected one of them; each says who is moved.")
    if shot.mask and not shot.image:
        raise UserError("--mask: is for --image; it says where in these pictures the object is.")


def _frames(model: UnsupVolanimModel, cube: Tensor, poses: list[PartPoses], shot: Animate) -> Iterator[np.ndarray]:
    cameras = _cameras(model, shot, len(poses))
    for number in range(len(poses)):
        # A camera path's render times say which moment of the clip is shown.
        share = None if shot.camera in ("still", "turning") or cameras.times is None else cameras.times[number]
        pose = poses[number if share is None else round(float(share) * (len(poses) - 1))]
        swing = SWING * math.sin(2 * math.pi * number / len(poses)) if shot.camera == "turning" else 0.0
        turned = model.turned(pose, math.radians(shot.yaw) + swing)
        seen = model.render_identity(cameras[number : number + 1], cube, turned, normals=False)
        yield (seen["rgb"].clamp(0, 1) * 255).round().byte().cpu().numpy()


def _cameras(model: UnsupVolanimModel, shot: Animate, count: int) -> Cameras:
    """One a frame: the method's own, whose pictures are square, or those of a camera path."""
    import torch

    from nerfstudio_avatars.cli.camera_file import read_camera_file
    from nerfstudio_avatars.data.clips.clip_cameras import clip_cameras

    if shot.camera not in ("still", "turning"):
        return read_camera_file(Path(shot.camera), shot.height, shot.width).resampled(count)
    side = min(shot.height or SIDE, shot.width or SIDE)
    return clip_cameras(model.kwargs["metadata"]["clips"], torch.zeros(count, 2, dtype=torch.long), side)


def _driving_poses(
    model: UnsupVolanimModel, driving: str | None, seconds: float | None
) -> tuple[list[PartPoses], float]:
    from nerfstudio_avatars.data.clips.loose_clip import read_loose_clip

    clips = model.kwargs["metadata"]["clips"]
    names = [clip.name for clip in clips]
    if driving is None:
        raise UserError(f"--driving: expected a clip's file or folder, or a name of the data set: {_some(names)}.")
    if driving in names and not Path(driving).exists():
        number = names.index(driving)
        clip = clips[number]
        count = clip.frames if seconds is None else min(clip.frames, max(1, round(seconds * clip.fps)))
        return [model.driving_pose(number, frame) for frame in range(count)], clip.fps
    frames, fps = read_loose_clip(Path(driving), model.kwargs["metadata"]["size"], seconds)
    return [model.pose_of_picture(frame.float() / 255) for frame in frames], fps


def _identity(run: LoadedRun, model: UnsupVolanimModel, shot: Animate) -> tuple[Tensor, PartPoses]:
    """The cube, and the pose in the first picture of it."""
    if shot.image:
        found = find_identity(run, shot.image, shot.mask)
        return found.cube, found.pose
    metadata = model.kwargs["metadata"]
    names = metadata["identities"]
    if shot.identity in names:
        number = names.index(shot.identity)
        return model.cube_of_identity(number), model.driving_pose(metadata["identity_of_clip"].index(number), 0)
    if shot.identity is not None and shot.identity.endswith(ENDING):
        cube, pose = load_identity(Path(shot.identity), model.network.parts, model.network.fingerprint())
        return cube.to(model.device), pose.to(model.device)
    kind, _, seed = (shot.identity or "").partition(":")
    if kind == RANDOM and seed.isdecimal():
        if shot.relative:
            raise UserError(f"--relative: {shot.identity} has no picture, whose pose the motion could start from.")
        return model.random_cube(int(seed)), model.driving_pose(0, 0)
    raise UserError(
        f"--identity {shot.identity}: expected a file of `ns-avatar invert` ({ENDING}), a name of the data set: "
        f"{_some(names)}; or {RANDOM}:NUMBER for nobody who exists; or give --image with a picture of somebody new."
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")  # noqa: PLR2004
