"""A film of a trained person in a motion: what is shown, and its pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.motion.loading import Root, UpOrAuto

if TYPE_CHECKING:
    import numpy as np
    from nerfstudio.cameras.cameras import Cameras

    from nerfstudio_avatars.avatars.cameras import CameraFile
    from nerfstudio_avatars.avatars.run import LoadedRun
    from nerfstudio_avatars.bodies.body_model import BodyModel, BodyState


HELD_SECONDS = 6.0
"""Length of a shot of a held pose, where none is given."""

SIDE = 540
"""Height and width of the pictures, where nothing else is said, pixels."""

LEAST_SIDE = 2
"""Of the pictures, pixels: a video drops an odd last row or column, and has to keep one."""


@dataclass
class Shot:
    """What is filmed, and how."""

    motion: str = "walk"
    """A shipped motion (walk, run, dance_a, cartwheel, spinkick, crawl); a motion file of any kind (npz, AMASS, BVH,
    glTF, EasyMocap's folder ...); `training` for the person's own video; or `still` for its first pose, held."""
    camera: str = "still"
    """`still`; `turning`, which walks once around the person; or a camera path that nerfstudio's viewer exported
    (.json), whose render times, if every camera has one, say which moment of the motion is shown."""
    seconds: float | None = None
    """Length of the video; the motion repeats or is cut. Default: the motion once, 6 s around a held pose, or the
    camera path's length."""
    fps: int = 24
    """Frames a second."""
    height: int | None = None
    """Pixels; by default 540, or the camera path's."""
    width: int | None = None
    """Pixels; by default 540, or the camera path's."""
    azimuth: float = 0.0
    """Where the camera starts, degrees; 0 is before the person of the training video, 90 at their left."""
    elevation: float = 5.0
    """Height of the camera above the horizon, degrees."""
    speed: float = 1.0
    """Of the motion; 0.5 is slow motion."""
    up: UpOrAuto = "auto"
    """Up axis of the motion file; `auto` takes its format's, or for plain arrays the one the torso points along."""
    person: str | None = None
    """Which of several persons in the motion file, by its own name or number; by default the one in most frames."""
    source_fps: float | None = None
    """Frames a second of the motion file, where it does not say or is wrong."""
    root: Root = "as_is"
    """`in_place` keeps the pelvis where it is, as on a treadmill; `on_ground` puts the lowest point of the whole motion
    at z = 0."""
    loop: int = 0
    """Frames of the video over which the motion's end turns into its beginning, so that it repeats without a jump."""
    blend_from_rest: int = 0
    """Frames of the video, before the motion and only once, that lead from the rest pose into it."""
    background: Literal["white", "black"] = "white"
    """Colour behind the person."""
    transparent: bool = False
    """RGBA pictures without a background; needs a folder as the output."""

    def check(self) -> None:
        """Raises `UserError` or `DataError` for a value that makes no picture, or a file that is not there."""
        for name in ("height", "width", "fps", "speed", "seconds", "source_fps"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"--{name.replace('_', '-')} {value}: expected a number above zero.")
        for name in ("height", "width"):
            value = getattr(self, name)
            if value is not None and value < LEAST_SIDE:
                raise UserError(f"--{name} {value}: expected at least {LEAST_SIDE} pixels.")
        for name in ("loop", "blend_from_rest"):
            if getattr(self, name) < 0:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: expected a number of frames.")
        if not abs(self.elevation) < 90:  # noqa: PLR2004
            raise UserError(f"--elevation {self.elevation}: expected degrees between -90 and 90.")
        if self.motion not in ("training", "still"):
            from nerfstudio_avatars.motion.loading import motion_path

            motion_path(self.motion)
        path = _camera_path(self)
        if path is not None:
            height, width = int(path.cameras.height.min()), int(path.cameras.width.min())
            if min(height, width) < LEAST_SIDE:
                raise UserError(
                    f"{self.camera}: pictures of {width}x{height} pixels. Expected sides of at least {LEAST_SIDE}: "
                    "set --height and --width."
                )


def film(run: LoadedRun, shot: Shot, output: Path) -> int:
    """Renders a shot of a trained run into a video or a folder.

    Returns:
        The number of frames.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from nerfstudio_avatars.media.frame_writer import FrameWriter

    count = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with FrameWriter(output, shot.fps) as writer, Progress(*columns, transient=True) as progress:
        task = progress.add_task(f"Rendering {shot.motion}", total=None)
        for total, frame in frames(run, shot):
            writer.write(frame)
            count += 1
            progress.update(task, total=total, completed=count)
    return count


def frames(run: LoadedRun, shot: Shot) -> Iterator[tuple[int, np.ndarray]]:
    """The pictures of a shot, 8 bits a channel, one by one, each with the total number."""
    from nerfstudio_avatars.instant_avatar.model import InstantAvatarModel
    from nerfstudio_avatars.motion.loading import choose_motion, stage

    if not isinstance(run.pipeline.model, InstantAvatarModel):
        raise UserError(
            f"{run.checkpoint}: a run of {run.config.method_name}, which has no skeleton. Expected one of "
            "instant-avatar; a learnt face is moved by a clip: ns-avatar drive."
        )
    path = _camera_path(shot)
    metadata = run.pipeline.datamanager.train_dataparser_outputs.metadata
    body: BodyModel = metadata["body_model"]
    motion = choose_motion(shot.motion, metadata["body"], body, shot.up, shot.person)
    motion = replace(motion, fps=shot.source_fps) if shot.source_fps else motion
    # At this rate, each frame of the video shows one of the motion's.
    motion = stage(motion, body, shot.fps / shot.speed, shot.root, shot.loop, shot.blend_from_rest)
    once = len(motion) - 1 if len(motion) - 1 > shot.blend_from_rest else round(HELD_SECONDS * shot.fps)
    seconds = shot.seconds or (path.seconds if path else once / shot.fps)
    total = max(round(seconds * shot.fps), 1)
    cameras = path.resampled(total) if path else None
    if cameras is not None and cameras.times is not None:
        states = [motion.at(time) for time in cameras.times.flatten().tolist()]
    else:
        states = [motion.state(_repeated(frame, shot.blend_from_rest, len(motion) - 1)) for frame in range(total)]
    if cameras is None:
        cameras = _cameras_around(body, states, shot)
    for index, state in enumerate(states):
        yield total, _picture(run, cameras[index : index + 1], state, shot)


def _repeated(frame: int, intro: int, last: int) -> int:
    """Which frame of the motion the video shows: the intro once, the rest again and again; `last` is its first."""
    return frame if frame < intro else intro + (frame - intro) % max(last - intro, 1)


def _camera_path(shot: Shot) -> CameraFile | None:
    """The exported path, if the shot's camera is one."""
    from nerfstudio_avatars.avatars.cameras import read_camera_file

    orbits = shot.camera in ("still", "turning")
    return None if orbits else read_camera_file(Path(shot.camera), shot.height, shot.width)


def _cameras_around(body: BodyModel, states: list[BodyState], shot: Shot) -> Cameras:
    """Cameras that look at the person and hold every joint of every state in the picture."""
    import torch

    from nerfstudio_avatars.avatars import cameras as camera_path

    total, height, width = len(states), shot.height or SIDE, shot.width or SIDE
    joints = torch.stack([body.pose(state).joints.detach().cpu() for state in states])
    middle = (joints.amin(dim=1) + joints.amax(dim=1)) / 2
    targets = torch.cat([joints[:, 0, :2], middle[:, 2:].mean(dim=0).expand(total, 1)], dim=-1)
    turn = torch.arange(total) / total * 2 * math.pi if shot.camera == "turning" else torch.zeros(total)
    views = camera_path.orbit(targets, turn + math.radians(shot.azimuth), math.radians(shot.elevation))
    focal = camera_path.focal_length(camera_path.reach(joints, targets), height, width)
    return camera_path.cameras(views, focal, height, width)


def _picture(run: LoadedRun, camera: Cameras, state: BodyState, shot: Shot) -> np.ndarray:
    import torch

    outputs = run.pipeline.model.render_state(camera, state)
    premultiplied, accumulation = outputs["premultiplied"], outputs["accumulation"]
    if shot.transparent:
        image = torch.cat([premultiplied / accumulation.clamp(min=1e-6), accumulation], dim=-1)
    else:
        image = premultiplied + (1 - accumulation) * float(shot.background == "white")
    return (image.clamp(0, 1) * 255).round().byte().cpu().numpy()
