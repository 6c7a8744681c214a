"""`ns-avatar animate` for `unsup-volanim`: an identity moved by another's clip."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nerfstudio_avatars.cli.errors import UserError
from nerfstudio_avatars.cli.invert import ENDING, find_identity, load_identity, volanim_model

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from nerfstudio_avatars.cli.run_config import LoadedRun
    from nerfstudio_avatars.deformations.volumetric_skinning import PartPoses
    from nerfstudio_avatars.models.unsup_volanim import UnsupVolanimModel

SWING = math.radians(25)
"""How far a turning camera goes to each side."""


class DrivenShot(Protocol):
    """What `Animate` says."""

    driving: str | None
    identity: str | None
    image: tuple[Path, ...]
    relative: bool
    yaw: float
    camera: str
    height: int
    width: int
    seconds: float | None
    output: Path


def drive(run: LoadedRun, shot: DrivenShot) -> int:
    """Renders an identity moved by a clip, into a video or a folder.

    Returns:
        The number of frames.

    Raises:
        UserError: if identity or clip are not given, or unknown.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from nerfstudio_avatars.cli.frame_writer import FrameWriter

    model = volanim_model(run)
    poses, fps = _driving_poses(model, shot.driving)
    cube, own = _identity(run, model, shot)
    if shot.relative:
        if own is None:
            raise UserError("--relative: needs --image, whose pose the motion starts from.")
        poses = relative_motion(poses, own)
    if shot.seconds is not None:
        poses = poses[: max(1, round(shot.seconds * fps))]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with FrameWriter(shot.output, round(fps)) as writer, Progress(*columns, transient=True) as progress:
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


def _frames(model: UnsupVolanimModel, cube: Tensor, poses: list[PartPoses], shot: DrivenShot) -> Iterator[np.ndarray]:
    import torch

    from nerfstudio_avatars.data.clips.clip_cameras import clip_cameras

    clips = model.kwargs["metadata"]["clips"]
    side = min(shot.height, shot.width)
    camera = clip_cameras(clips, torch.zeros(1, 2, dtype=torch.long), side)
    for number, pose in enumerate(poses):
        swing = SWING * math.sin(2 * math.pi * number / len(poses)) if shot.camera == "turning" else 0.0
        seen = model.render_identity(camera, cube, model.turned(pose, math.radians(shot.yaw) + swing))
        yield (seen["rgb"].clamp(0, 1) * 255).round().byte().cpu().numpy()


def _driving_poses(model: UnsupVolanimModel, driving: str | None) -> tuple[list[PartPoses], float]:
    from nerfstudio_avatars.data.clips.loose_clip import read_loose_clip

    clips = model.kwargs["metadata"]["clips"]
    names = [clip.name for clip in clips]
    if driving is None:
        raise UserError(f"--driving: expected a clip's file or folder, or a name of the data set: {_some(names)}.")
    if driving in names and not Path(driving).exists():
        clip = names.index(driving)
        return [model.driving_pose(clip, frame) for frame in range(clips[clip].frames)], clips[clip].fps
    frames, fps = read_loose_clip(Path(driving), model.kwargs["metadata"]["size"])
    return [model.pose_of_picture(frame.float() / 255) for frame in frames], fps


def _identity(run: LoadedRun, model: UnsupVolanimModel, shot: DrivenShot) -> tuple[Tensor, PartPoses | None]:
    """The cube, and the pose in the first picture where there is one."""
    from nerfstudio_avatars.data.clips.loose_clip import read_loose_clip

    if shot.image:
        picture = read_loose_clip(shot.image[0], model.kwargs["metadata"]["size"])[0][0].float() / 255
        return find_identity(run, shot.image).cube, model.pose_of_picture(picture)
    names = model.kwargs["metadata"]["identities"]
    if shot.identity in names:
        return model.cube_of_identity(names.index(shot.identity)), None
    if shot.identity is not None and shot.identity.endswith(ENDING):
        return load_identity(Path(shot.identity), model.network.parts + 4).to(model.device), None
    raise UserError(
        f"--identity {shot.identity}: expected a file of `ns-avatar invert` ({ENDING}), or a name of the data set: "
        f"{_some(names)}; or give --image with a picture of somebody new."
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")  # noqa: PLR2004
