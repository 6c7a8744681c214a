"""Pictures and films of what the page shows."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from nerfstudio_avatars.avatars.cameras import read_camera_file
from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.media.frame_writer import FrameWriter
from nerfstudio_avatars.motion.writing import write_motion
from nerfstudio_avatars.studio.look import cut, paint
from nerfstudio_avatars.studio.person_show import PersonShow
from nerfstudio_avatars.studio.picture_budget import size_of
from nerfstudio_avatars.studio.sight import Sight

FilmCamera = Literal["as seen", "turning", "camera path"]
_TURN_SECONDS = 6.0
"""Shortest film with a turning camera, in seconds, unless another length is asked for."""
_MOST_FRAMES = 20_000
"""Of a film."""


@dataclass(frozen=True)
class Film:
    """How to film."""

    camera: FilmCamera = "as seen"
    path: Path | None = None
    """The camera path, if that is the camera."""
    seconds: float = 0.0
    """Length of the film; 0 plays the motion once."""
    fps: int = 24
    side: int = 720
    """The longer side of the pictures, in pixels."""


def take_picture(show: PersonShow, sight: Sight, side: int) -> bytes:
    """A PNG file of what is shown now, transparent if the background is.

    Args:
        show: the person.
        sight: from where.
        side: the longer one, in pixels.
    """
    from PIL import Image

    outputs = show.stage.draw(sight, show.shown(), *size_of(side, sight.aspect))
    assert outputs is not None
    picture = cut(outputs, show.look) if show.look.background == "transparent" else paint(outputs, show.look)
    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def take_film(
    show: PersonShow, sight: Sight, film: Film, progress: Callable[[int, int], None], stop: Callable[[], bool]
) -> bytes | None:
    """An mp4 file of the motion that is chosen, in its place and at its speed.

    Args:
        show: the person.
        sight: from where; a turning camera starts there.
        film: how.
        progress: called with the number of pictures drawn, and of all.
        stop: whether to give up.

    Returns:
        None if it was stopped.

    Raises:
        UserError: the camera path cannot be read, or the film would be too long.
    """
    shots = list(_shots(show, sight, film))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        with FrameWriter(path, film.fps) as writer:
            for number, (seen, state) in enumerate(shots, 1):
                outputs = show.stage.draw(seen, state, *size_of(film.side, seen.aspect), stop)
                if outputs is None or stop():
                    return None
                # A film has no transparency: its background is white then.
                look = replace(show.look, background="white") if show.look.background == "transparent" else show.look
                writer.write(np.ascontiguousarray(paint(outputs, look)))
                progress(number, len(shots))
        return path.read_bytes()


def take_motion(show: PersonShow, ending: str) -> bytes:
    """A motion file of what is chosen, in its place; of an own pose, one frame.

    Args:
        show: the person.
        ending: of `motion.writing.ENDINGS`.
    """
    session, person = show.session, show.model.person
    with session.lock:
        clip = session.clip
        states = [session.at(float(frame)) for frame in range(clip.frames)]
    motion = replace(
        person.motion,
        global_orient=torch.stack([state.global_orient for state in states]),
        body_pose=torch.stack([state.body_pose for state in states]),
        transl=torch.stack([state.transl for state in states]),
        fps=clip.fps,
    )
    joints = person.body.rest(person.motion.betas)[1]
    with tempfile.TemporaryDirectory() as folder:
        return write_motion(motion, Path(folder) / f"motion{ending}", joints).read_bytes()


def _shots(show: PersonShow, sight: Sight, film: Film) -> Iterator[tuple[Sight, BodyState]]:
    with show.session.lock:
        playback = show.session.playback
        last, rate = playback.last, playback.fps * playback.speed
    once = last / rate if last else _TURN_SECONDS
    path = None
    if film.camera == "camera path":
        if film.path is None:
            raise UserError("There is no camera path yet. Add key frames in the tab Camera path, and save them there.")
        path = read_camera_file(film.path)
    seconds = film.seconds or (path.seconds if path else once)
    if film.camera == "turning" and not film.seconds:
        seconds = once * math.ceil(_TURN_SECONDS / once)
    total = max(round(seconds * film.fps), 1)
    if total > _MOST_FRAMES:
        raise UserError(f"{seconds:.0f} seconds are {total} pictures. Expected at most {_MOST_FRAMES}.")
    cameras = path.resampled(total) if path else None
    middle = show.session.at(0.0).transl
    for number in range(total):
        frame = number / film.fps * rate
        state = show.session.shaped(show.session.at(frame % last if last else 0.0))
        if cameras is not None:
            yield _sight_of(cameras[number : number + 1]), state
        elif film.camera == "turning":
            yield _turned(sight, 2 * math.pi * number / total, middle), state
        else:
            yield sight, state


def _turned(sight: Sight, angle: float, middle: torch.Tensor) -> Sight:
    """A camera that has gone round a vertical axis, radians."""
    matrix = torch.tensor(sight.camera_to_world).view(3, 4)
    cosine, sine = math.cos(angle), math.sin(angle)
    turn = torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    axis = torch.stack([middle[0], middle[1], torch.zeros_like(middle[0])])
    place = turn @ (matrix[:, 3] - axis) + axis
    turned = torch.cat([turn @ matrix[:, :3], place[:, None]], 1)
    return replace(sight, camera_to_world=tuple(turned.flatten().tolist()))


def _sight_of(camera: object) -> Sight:
    from nerfstudio.cameras.cameras import Cameras

    assert isinstance(camera, Cameras)
    height, width = float(camera.height), float(camera.width)
    return Sight(
        camera_to_world=tuple(camera.camera_to_worlds.flatten().tolist()),
        field_of_view=2 * math.atan(height / 2 / float(camera.fy)),
        aspect=width / height,
    )
