"""Cameras that look at a person, either fixed or moving around them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from nerfstudio.cameras.cameras import Cameras
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfstudio_avatars.errors import UserError

if TYPE_CHECKING:
    from nerfstudio.cameras.cameras import Cameras


DISTANCE = 4.5
"""From the camera to the person, metres: far enough for natural proportions."""

MARGIN = 0.2
"""Left free around the joints, metres: skin, hair and shoes reach beyond them."""


def orbit(
    targets: Float[Tensor, "frames 3"],
    azimuth: Float[Tensor, " frames"],
    elevation: float,
    distance: float = DISTANCE,
) -> Float[Tensor, "frames 3 4"]:
    """Camera-to-world matrices, OpenGL axes, of cameras that look at the targets.

    Args:
        targets: what each camera looks at, metres, z up.
        azimuth: radians; 0 stands at +y, where the person of a training video looks at the start; grows towards -x.
        elevation: radians above the horizon, below a right angle.
        distance: metres from camera to target.
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
    """Radius around its target that holds a person in every frame, from any side, metres."""
    return (joints - targets[:, None]).norm(dim=-1).max().item() + MARGIN


def focal_length(radius: float, height: int, width: int, distance: float = DISTANCE) -> float:
    """Focal length in pixels at which a ball around the target just fits into the picture."""
    return 0.5 * min(height, width) * math.sqrt(max(distance**2 - radius**2, 0.01)) / radius


def cameras(camera_to_world: Float[Tensor, "frames 3 4"], focal: float, height: int, width: int) -> Cameras:
    """nerfstudio cameras without distortion, principal point in the middle."""
    from nerfstudio.cameras.cameras import Cameras

    # Only float32 intrinsics: nerfstudio's rays mix types otherwise.
    return Cameras(camera_to_world.float(), float(focal), float(focal), width / 2, height / 2, width, height)


FIX = "Export it from nerfstudio's viewer: tab Render, Generate Command."


@dataclass(frozen=True)
class CameraFile:
    """A path of cameras, evenly spaced in time."""

    cameras: Cameras
    """As they are in the file; with `times`, from 0 to 1, where every one has a render time."""
    seconds: float
    """Length."""

    def resampled(self, count: int) -> Cameras:
        """So many cameras over the whole path: the file's own, where the numbers agree, else interpolated.

        As between nerfstudio's key frames, positions and focal lengths go straight, rotations the shorter way.
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
    """Reads a camera path. Its crop is not used: the person is all there is.

    Args:
        path: JSON, as the viewer writes it.
        height: pixels, where the file's are not wanted; fields of view stay.
        width: pixels, where the file's are not wanted.

    Raises:
        UserError: if it is no camera path.
    """
    from nerfstudio.cameras.camera_paths import get_path_from_json

    try:
        content: dict[str, Any] = json.loads(path.read_text("utf8"))
        sizes = {"render_height": height or content["render_height"], "render_width": width or content["render_width"]}
        cameras, seconds = get_path_from_json(content | sizes), float(content["seconds"])
    except (OSError, UnicodeDecodeError) as error:
        found = "no such file" if not path.exists() else str(error)
        raise UserError(
            f"--camera {path}: {found}. Expected still, turning, or a camera path (.json). {FIX}"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"{path}: no camera path ({type(error).__name__}: {error}). Expected JSON with camera_path, render_height, "
            f"render_width and seconds. {FIX}"
        ) from error
    # nerfstudio's rays would mix number types.
    cameras.fx, cameras.fy = cameras.fx.float(), cameras.fy.float()
    values = (cameras.camera_to_worlds, cameras.fx, cameras.fy)
    if not seconds > 0 or not all(value.isfinite().all() for value in values) or not (cameras.fx > 0).all():
        raise UserError(
            f"{path}: {seconds:g} seconds, or cameras at NaN or without a field of view. Expected a path that takes "
            f"time, of cameras that see. {FIX}"
        )
    return CameraFile(cameras, seconds)
