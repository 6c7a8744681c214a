"""Films of a trained person performing a motion."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.motion.choices import Root, UpOrAuto
from nerfstudio_avatars.progress import progress_bar

if TYPE_CHECKING:
    import numpy as np
    from nerfstudio.cameras.cameras import Cameras

    from nerfstudio_avatars.avatars.cameras import CameraFile
    from nerfstudio_avatars.bodies.body_model import BodyModel, BodyState
    from nerfstudio_avatars.bodies.body_sequence import BodySequence
    from nerfstudio_avatars.instant_avatar.model import InstantAvatarModel


_HELD_SECONDS = 6.0
"""Default length of a shot of a held pose, in seconds."""

_TURN_SECONDS = 6.0
"""Shortest default length of a shot with a turning camera, in seconds: a faster turn cannot be watched."""

_LONGEST_SECONDS = 600.0
"""Length of a film above which `--seconds` has to be given."""

SIDE = 540
"""Default height and width of the pictures in pixels."""

_SPARED = 16
"""Of so many vertices, one says how far the body reaches: a long film has thousands of poses."""

LEAST_SIDE = 2
"""Smallest side of the pictures in pixels: a video drops an odd last row or column, and has to keep one."""


@dataclass
class Shot:
    """The motion to film, and how to film it."""

    motion: str = "walk"
    """Motion to perform: a shipped one (walk, run, dance_a, cartwheel, spinkick or crawl), or a motion file.
    Motion files may be npz, AMASS, BVH, glTF, a folder written by EasyMocap, or other formats.
    The name `training` stands for the motion in the person's own video, and `still` for its first pose, held."""
    camera: str = "still"
    """Camera to film with: `still`, `turning`, which circles the person once, or the JSON file of a camera path.
    Camera paths come from nerfstudio's viewer; if all its cameras have render times, these choose the moment shown."""
    seconds: float | None = None
    """Length of the video in seconds, for which the motion repeats or is cut.
    By default the motion plays once, a held pose lasts 6 s, and a camera path lasts as long as it says.
    A turning camera takes at least 6 s, in which a short motion repeats."""
    fps: int = 24
    """Number of frames to show per second."""
    height: int | None = None
    """Height of the rendered pictures in pixels; by default 540, or that of the camera path."""
    width: int | None = None
    """Width of the rendered pictures in pixels; by default 540, or that of the camera path."""
    azimuth: float = 0.0
    """Angle around the person to film from first, in degrees: 0 is their front in the training video, 90 their left."""
    elevation: float = 5.0
    """Angle that the camera is raised above the horizon, in degrees."""
    speed: float = 1.0
    """Factor to speed up the motion by; 0.5 is slow motion."""
    up: UpOrAuto = "auto"
    """Axis that points up in the motion file; `auto` finds it by how the body stands and moves, else by the format."""
    person: str | None = None
    """Name or number of the person to take from a motion file that holds several; by default the one in most frames."""
    joint_map: Path | None = None
    """JSON file of SMPL's joints and a skeleton's names for them, to read a BVH or glTF file with.
    The command `ns-avatar inspect FILE --write-joint-map MAP.json` writes one."""
    source_fps: float | None = None
    """Frame rate of the motion file in frames per second, if the file does not state it or is wrong."""
    root: Root = "as_is"
    """Place of the motion: `as_is` follows the file, and `in_place` keeps the pelvis fixed, as on a treadmill.
    With `on_ground`, the lowest point of the whole motion is moved to z = 0."""
    loop: int = 0
    """Number of video frames over which the motion's end blends into its start, so that it repeats without a jump."""
    blend_from_rest: int = 0
    """Number of video frames to lead from the rest pose into the motion, once."""
    background: Literal["white", "black"] = "white"
    """Colour to show behind the person."""
    transparent: bool = False
    """Whether to write RGBA pictures without a background; the output then has to be a folder."""

    def check(self) -> None:
        """Raises `UserError` or `DataError` for a value that is out of range, or a file that does not exist."""
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
        if not abs(self.elevation) < 90:
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


@runtime_checkable
class _Filmed(Protocol):
    """Whoever holds a model of a person, such as an `Avatar`."""

    @property
    def model(self) -> InstantAvatarModel: ...


def film(avatar: _Filmed, shot: Shot, output: Path, motion: BodySequence | None = None) -> int:
    """Renders a shot of a trained person into a video or a folder.

    Args:
        avatar: the person.
        shot: what to show.
        output: an .mp4 file, or a folder for PNG files.
        motion: to show in place of the shot's, in the world frame.

    Returns:
        The number of frames.

    Raises:
        UserError: an output that cannot be written, or a film of more than ten minutes that was not asked for.
    """
    from nerfstudio_avatars.media.frame_writer import FrameWriter, check_output

    check_output(output, shot.transparent)
    count, shown = 0, shot.motion if motion is None else "the motion"
    with FrameWriter(output, shot.fps) as writer, progress_bar(f"Rendering {shown}") as bar:
        for total, frame in frames(avatar, shot, motion):
            writer.write(frame)
            count += 1
            bar(count, total)
    return count


def frames(avatar: _Filmed, shot: Shot, motion: BodySequence | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the pictures of a shot, with 8 bits per channel, each with the total number."""
    from nerfstudio_avatars.motion.joint_map import read_joint_map
    from nerfstudio_avatars.motion.loading import choose_motion, stage

    path = _camera_path(shot)
    person = avatar.model.person
    body, shown = person.body, shot.motion if motion is None else "the motion"
    if motion is None:
        joint_map = read_joint_map(shot.joint_map) if shot.joint_map else None
        motion = choose_motion(shot.motion, person.motion, body, shot.up, shot.person, joint_map=joint_map)
    motion = replace(motion, fps=shot.source_fps) if shot.source_fps else motion
    lasts = len(motion) / motion.fps / shot.speed
    if lasts > _LONGEST_SECONDS and not (shot.seconds or path):
        raise UserError(
            f"{shown}: {len(motion)} frames at {motion.fps:g} frames per second last {lasts / 60:.0f} minutes. "
            "Expected at most 10 minutes of film: set the length with --seconds, or the right rate with --source-fps."
        )
    # At this rate, each frame of the video shows one of the motion's.
    motion = stage(motion, body, shot.fps / shot.speed, shot.root, shot.loop, shot.blend_from_rest)
    once = len(motion) - 1 if len(motion) - 1 > shot.blend_from_rest else round(_HELD_SECONDS * shot.fps)
    if shot.camera == "turning":
        once *= max(math.ceil(_TURN_SECONDS * shot.fps / once), 1)
    seconds = shot.seconds or (path.seconds if path else once / shot.fps)
    total = max(round(seconds * shot.fps), 1)
    cameras = path.resampled(total) if path else None
    if cameras is not None and cameras.times is not None:
        states = [motion.at(time) for time in cameras.times.flatten().tolist()]
    else:
        states = [motion.state(_repeated(frame, shot.blend_from_rest, len(motion) - 1)) for frame in range(total)]
    if cameras is None:
        cameras = cameras_around(body, states, shot)
    for index, state in enumerate(states):
        yield total, posed_picture(avatar.model, cameras[index : index + 1], state, shot)


def _repeated(frame: int, intro: int, last: int) -> int:
    """The frame of the motion that the video shows: the intro once, then the rest repeatedly; `last` is its first."""
    return frame if frame < intro else intro + (frame - intro) % max(last - intro, 1)


def _camera_path(shot: Shot) -> CameraFile | None:
    """The camera path, if the shot has one."""
    from nerfstudio_avatars.avatars.cameras import read_camera_file

    orbits = shot.camera in ("still", "turning")
    return None if orbits else read_camera_file(Path(shot.camera), shot.height, shot.width)


def cameras_around(body: BodyModel, states: list[BodyState], shot: Shot) -> Cameras:
    """Cameras that look at the person and keep the whole body in the picture, in all states."""
    import torch

    from nerfstudio_avatars.avatars import cameras as camera_path

    total, height, width = len(states), shot.height or SIDE, shot.width or SIDE
    posed = (body.pose(state) for state in states)
    kept = [(one.joints[:1].detach().cpu(), one.vertices[::_SPARED].detach().cpu()) for one in posed]
    pelvis, points = (torch.stack(parts) for parts in zip(*kept, strict=True))
    middle = (points.amin(dim=1) + points.amax(dim=1)) / 2
    targets = torch.cat([pelvis[:, 0, :2], middle[:, 2:].mean(dim=0).expand(total, 1)], dim=-1)
    turn = torch.arange(total) / total * 2 * math.pi if shot.camera == "turning" else torch.zeros(total)
    views = camera_path.orbit(targets, turn + math.radians(shot.azimuth), math.radians(shot.elevation))
    focal = camera_path.focal_length(camera_path.reach(points, targets), height, width)
    return camera_path.cameras(views, focal, height, width)


def posed_picture(model: InstantAvatarModel, camera: Cameras, pose: BodyState, shot: Shot) -> np.ndarray:
    """One picture, 8 bits per channel: on the shot's background, or RGBA with straight colours if it is transparent."""
    import torch

    outputs = model.render_pose(camera, pose)
    premultiplied, accumulation = outputs["premultiplied"], outputs["accumulation"]
    if shot.transparent:
        image = torch.cat([premultiplied / accumulation.clamp(min=1e-6), accumulation], dim=-1)
    else:
        image = premultiplied + (1 - accumulation) * float(shot.background == "white")
    return (image.clamp(0, 1) * 255).round().byte().cpu().numpy()
