"""Camera paths of nerfstudio's viewer, looked at before a picture is rendered: for `ns-avatar` and for `ns-render`."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.files import read_bytes

if TYPE_CHECKING:
    from nerfstudio.cameras.cameras import Cameras

MOST_BYTES = 1 << 27
"""Of a camera path's file."""
_LARGEST_SIDE, MOST_PIXELS = 16384, 1 << 26
"""Of a rendered picture."""
LONGEST, _MOST_CAMERAS = 86_400, 1_000_000
"""Length of a path: seconds, cameras."""
_NARROWEST, _WIDEST = 0.1, 170
"""Fields of view, degrees."""
FARTHEST = 1e5
"""Metres from the person."""
FIX = "Export it from nerfstudio's viewer: tab Render, Generate Command."
_DAMAGED = (ValueError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError, OverflowError, IndexError)


def read_camera_path(path: Path, height: int | None = None, width: int | None = None) -> dict[str, Any]:
    """Reads a camera path, without its crop, its numbers as numbers and checked.

    Args:
        path: a JSON file, as written by the viewer.
        height: in pixels, if other than the file's.
        width: in pixels, if other than the file's.

    Raises:
        DataError: the file cannot be read.
        UserError: it is no camera path, or one that no camera can take.
    """
    content = read_bytes(path, "a camera path (.json)", FIX, MOST_BYTES)
    try:
        return _plain_camera_path(json.loads(content), height, width)
    except _DAMAGED as error:
        raise UserError(
            f"{path}: no camera path ({type(error).__name__}: {error}). Expected JSON with camera_path, render_height, "
            f"render_width and seconds. {FIX}"
        ) from error


def check_path_of_ns_render() -> None:
    """Checks the camera path of `ns-render camera-path`, if that command is opening a run, before it reads it itself.

    Raises:
        UserError: as `read_camera_path`, or the path is a single key frame, which `ns-render` cannot film.
    """
    command = _ns_render()
    path = getattr(command.f_locals.get("self"), "camera_path_filename", None) if command is not None else None
    if command is None or path is None:
        return
    from nerfstudio.cameras.camera_paths import get_path_from_json

    read = read_camera_path(path)
    content = json.loads(read_bytes(path, most=MOST_BYTES))
    if not content["camera_path"] or not isinstance(content["seconds"], int | float) or content["seconds"] <= 0:
        raise UserError(
            f"{path}: {len(content['camera_path'])} cameras in {content['seconds']!r:.20} seconds, of which ns-render "
            "makes no film. `ns-avatar animate --camera` takes it, for a person."
        )

    def path_of(_: dict[str, Any]) -> Cameras:
        return get_path_from_json(read)

    def no_crop(_: dict[str, Any]) -> None:
        """The scene holds nothing but the person."""

    # The command is a module of its own, or the program.
    command.f_globals.update(get_path_from_json=path_of, get_crop_from_json=no_crop)


def _ns_render() -> FrameType | None:
    """The command's function, if it is among those that called."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_name == "main" and Path(code.co_filename).parts[-3:] == ("nerfstudio", "scripts", "render.py"):
            return frame
        frame = frame.f_back
    return None


def _plain_camera_path(content: Any, height: int | None, width: int | None) -> dict[str, Any]:
    """A camera path without crop, its numbers as numbers and checked; one key frame makes a path of one camera.

    Raises:
        ValueError: numbers that no camera has.
        KeyError: a part is missing.
        TypeError: a part is something else than it should be.
    """
    if not isinstance(content, dict):
        raise TypeError(
            f"a {type(content).__name__}; `ns-export cameras` writes such lists, the viewer's tab Render paths"
        )
    kind = str(content.get("camera_type", "perspective")).lower()
    if kind != "perspective":
        raise ValueError(f"its cameras are {kind}; people are drawn by perspective cameras only")
    sizes = [_number(value) for value in (height or content["render_height"], width or content["render_width"])]
    if not all(1 <= size <= _LARGEST_SIDE for size in sizes) or sizes[0] * sizes[1] > MOST_PIXELS:
        raise ValueError(f"pictures of {sizes[1]:g}x{sizes[0]:g} pixels; at most {MOST_PIXELS // 10**6} million")
    fps, seconds, path = _number(content.get("fps", 24)), _number(content["seconds"]), content["camera_path"]
    if not path and len(content.get("keyframes", ())) == 1:
        key = content["keyframes"][0]
        # Key frames hold their matrices by columns, paths by rows.
        turned = [key["matrix"][4 * column + row] for row in range(4) for column in range(4)]
        path, seconds = [{"camera_to_world": turned, "fov": key["fov"], "aspect": key.get("aspect", 1)}], 0.0
    if len(path) == 1 and not seconds > 0:
        seconds = 1 / fps if fps > 0 else 1.0
    if not 0 < seconds <= LONGEST:
        raise ValueError(f"{seconds:g} seconds long; more than none and at most {LONGEST}")
    if not 1 <= len(path) <= _MOST_CAMERAS:
        raise ValueError(f"{len(path)} cameras; 1 to {_MOST_CAMERAS}")
    cameras = [_plain_camera(number, one) for number, one in enumerate(path)]
    return {
        "camera_type": "perspective",
        "render_height": int(sizes[0]),
        "render_width": int(sizes[1]),
        "seconds": seconds,
        "fps": fps,
        "camera_path": cameras,
    }


def _plain_camera(number: int, camera: Any) -> dict[str, Any]:
    if not isinstance(camera, dict):
        raise TypeError(f"camera {number} is {str(camera)[:40]!r}, not a matrix and a field of view")
    matrix = [_number(value) for value in camera["camera_to_world"]]
    if len(matrix) != 16 or not all(abs(value) <= FARTHEST for value in matrix):
        raise ValueError(f"camera {number}: its matrix is not of 16 numbers within {FARTHEST:g} metres")
    turn = np.array(matrix).reshape(4, 4)[:3, :3]
    if np.abs(turn @ turn.T - np.eye(3)).max() > 0.01:
        raise ValueError(f"camera {number}: its matrix is no rotation")
    fov = _number(camera["fov"])
    if not _NARROWEST <= fov <= _WIDEST:
        raise ValueError(f"camera {number}: a field of view of {fov:g} degrees; {_NARROWEST} to {_WIDEST}")
    plain = {"camera_to_world": matrix, "fov": fov, "aspect": _number(camera.get("aspect", 1))}
    time = camera.get("render_time")
    return plain if time is None else plain | {"render_time": min(max(_number(time), 0.0), 1.0)}


def _number(value: Any) -> float:
    """A finite number; some programs write them as text."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is no number")
    return number
