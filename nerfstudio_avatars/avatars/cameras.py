"""Cameras that look at a person, fixed or moving around them, and camera paths from files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.nerfstudio_glue.camera_paths import FIX, read_camera_path

if TYPE_CHECKING:
    from nerfstudio.cameras.cameras import Cameras

DISTANCE = 4.5
"""Distance from camera to person in metres, far enough for natural proportions."""

MARGIN = 0.1
"""Margin around the body in metres, because hair, clothes and shoes reach beyond it."""


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


def reach(points: Float[Tensor, "frames points 3"], targets: Float[Tensor, "frames 3"]) -> float:
    """Radius in metres, around the target, that contains the person in every frame and from any side.

    Args:
        points: of the body's skin, metres.
        targets: what the cameras look at, metres.
    """
    return (points - targets[:, None]).norm(dim=-1).max().item() + MARGIN


def focal_length(radius: float, height: int, width: int, distance: float = DISTANCE) -> float:
    """Focal length in pixels at which a sphere around the target just fits into the picture."""
    return 0.5 * min(height, width) * math.sqrt(max(distance**2 - radius**2, 0.01)) / radius


def cameras(camera_to_world: Float[Tensor, "frames 3 4"], focal: float, height: int, width: int) -> Cameras:
    """nerfstudio cameras without distortion, and with the principal point in the middle."""
    from nerfstudio.cameras.cameras import Cameras

    # Only float32 intrinsics: nerfstudio's rays mix types otherwise.
    return Cameras(camera_to_world.float(), float(focal), float(focal), width / 2, height / 2, width, height)


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
        content = read_camera_path(path, height, width)
    except DataError as error:
        raise UserError(
            f"--camera {path}: {error.found}. Expected `still`, `turning` or a camera path (.json). {FIX}"
        ) from error
    cameras = get_path_from_json(content)
    # nerfstudio's rays would mix number types.
    cameras.fx, cameras.fy = cameras.fx.float(), cameras.fy.float()
    return CameraFile(cameras, content["seconds"])
