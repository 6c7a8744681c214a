"""Cameras that look at a person, fixed or moving around them, and camera paths from files."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.files import read_bytes

if TYPE_CHECKING:
    from nerfstudio.cameras.cameras import Cameras

DISTANCE = 4.5
"""Distance from camera to person in metres, far enough for natural proportions."""

MARGIN = 0.2
"""Margin around the joints in metres, because skin, hair and shoes reach beyond them."""


def orbit(
    targets: Float[Tensor, "frames 3"],
    azimuth: Float[Tensor, " frames"],
    elevation: float,
    distance: float = DISTANCE,
) -> Float[Tensor, "frames 3 4"]:
    """Camera-to-world matrices in OpenGL axes, of cameras that look at the targets.

    Args:
        targets: the point that each camera looks at, in metres, z up.
        azimuth: in radians; 0 is at +y, which the person in a training video faces at the start; grows towards -x.
        elevation: in radians above the horizon, less than a right angle.
        distance: from camera to target, in metres.

    >>> orbit(torch.zeros(1, 3), torch.zeros(1), 0.0)[0, :, 3].tolist()
    [0.0, 4.5, 0.0]
    """
    back = torch.stack(
        [
            -azimuth.sin() * math.cos(elevation),
            azimuth.cos() * math.cos(elevation),
            torch.full_like(azimuth, math.sin(elevation)),
        ],
        dim=-1,
    )
    right = torch.nn.functional.normalize(
        torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0]).expand_as(back), back), dim=-1
    )
    up = torch.linalg.cross(back, right)
    return torch.stack([right, up, back, targets + distance * back], dim=-1)


def reach(joints: Float[Tensor, "frames joints 3"], targets: Float[Tensor, "frames 3"]) -> float:
    """Radius in metres, around the target, that contains the person in every frame and from any side."""
    return (joints - targets[:, None]).norm(dim=-1).max().item() + MARGIN


def focal_length(radius: float, height: int, width: int, distance: float = DISTANCE) -> float:
    """Focal length in pixels at which a sphere around the target just fits into the picture."""
    return 0.5 * min(height, width) * math.sqrt(max(distance**2 - radius**2, 0.01)) / radius


def cameras(camera_to_world: Float[Tensor, "frames 3 4"], focal: float, height: int, width: int) -> Cameras:
    """nerfstudio cameras without distortion, and with the principal point in the middle."""
    from nerfstudio.cameras.cameras import Cameras

    # Only float32 intrinsics: nerfstudio's rays mix types otherwise.
    return Cameras(camera_to_world.float(), float(focal), float(focal), width / 2, height / 2, width, height)


MOST_BYTES = 1 << 27
"""Of a camera path's file."""
LARGEST_SIDE, MOST_PIXELS = 16384, 1 << 26
"""Of a rendered picture."""
LONGEST, MOST_CAMERAS = 86_400, 1_000_000
"""Length of a path: seconds, cameras."""
NARROWEST, WIDEST = 0.1, 170
"""Fields of view, degrees."""
FARTHEST = 1e5
"""Metres from the person."""
FIX = "Export it from nerfstudio's viewer: tab Render, Generate Command."


@dataclass(frozen=True)
class CameraFile:
    """A camera path, with cameras evenly spaced in time."""

    cameras: Cameras
    """Cameras as in the file; with `times` from 0 to 1 if every camera has a render time."""
    seconds: float
    """Length of the path in seconds."""

    def resampled(self, count: int) -> Cameras:
        """Cameras over the whole path: those of the file if the number agrees, otherwise interpolated ones.

        As between nerfstudio's key frames, positions and focal lengths are linear, and rotations go the shorter way.
        """
        import torch
        from nerfstudio.cameras.cameras import Cameras

        from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix, matrix_to_axis_angle, slerp_axis_angle

        own = self.cameras
        if count == len(own):
            return own
        places = (torch.arange(count) * (len(own) / count)).clamp(max=len(own) - 1)
        before = places.long()
        after = (before + 1).clamp(max=len(own) - 1)
        share = (places - before)[:, None]
        turns = matrix_to_axis_angle(own.camera_to_worlds[..., :3])
        turned = axis_angle_to_matrix(slerp_axis_angle(turns[before], turns[after], share))
        position = own.camera_to_worlds[..., 3:]
        moved = torch.lerp(position[before], position[after], share[..., None])
        return Cameras(
            camera_to_worlds=torch.cat([turned, moved], dim=-1),
            fx=torch.lerp(own.fx[before], own.fx[after], share),
            fy=torch.lerp(own.fy[before], own.fy[after], share),
            cx=own.cx[before],
            cy=own.cy[before],
            width=own.width[before],
            height=own.height[before],
            camera_type=own.camera_type[before],
            times=None if own.times is None else torch.lerp(own.times[before], own.times[after], share),
        )


def read_camera_file(path: Path, height: int | None = None, width: int | None = None) -> CameraFile:
    """Reads a camera path. Its crop is ignored, because the scene holds nothing but the person.

    Args:
        path: a JSON file, as written by the viewer.
        height: in pixels, if other than the file's; fields of view are kept.
        width: in pixels, if other than the file's.

    Raises:
        UserError: if it is not a camera path.
    """
    from nerfstudio.cameras.camera_paths import get_path_from_json

    try:
        content = _plain_path(json.loads(read_bytes(path, "a camera path (.json)", FIX, MOST_BYTES)), height, width)
        cameras, seconds = get_path_from_json(content), content["seconds"]
    except DataError as error:
        raise UserError(
            f"--camera {path}: {error.found}. Expected `still`, `turning` or a camera path (.json). {FIX}"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError, OverflowError) as error:
        raise UserError(
            f"{path}: no camera path ({type(error).__name__}: {error}). Expected JSON with camera_path, render_height, "
            f"render_width and seconds. {FIX}"
        ) from error
    # nerfstudio's rays would mix number types.
    cameras.fx, cameras.fy = cameras.fx.float(), cameras.fy.float()
    return CameraFile(cameras, seconds)


def _plain_path(content: Any, height: int | None, width: int | None) -> dict[str, Any]:
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
    if not all(1 <= size <= LARGEST_SIDE for size in sizes) or sizes[0] * sizes[1] > MOST_PIXELS:
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
    if not 1 <= len(path) <= MOST_CAMERAS:
        raise ValueError(f"{len(path)} cameras; 1 to {MOST_CAMERAS}")
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
    turn = torch.tensor(matrix).view(4, 4)[:3, :3]
    if (turn @ turn.T - torch.eye(3)).abs().max() > 0.01:
        raise ValueError(f"camera {number}: its matrix is no rotation")
    fov = _number(camera["fov"])
    if not NARROWEST <= fov <= WIDEST:
        raise ValueError(f"camera {number}: a field of view of {fov:g} degrees; {NARROWEST} to {WIDEST}")
    plain = {"camera_to_world": matrix, "fov": fov, "aspect": _number(camera.get("aspect", 1))}
    time = camera.get("render_time")
    return plain if time is None else plain | {"render_time": min(max(_number(time), 0.0), 1.0)}


def _number(value: Any) -> float:
    """A finite number; some programs write them as text."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is no number")
    return number
