"""Camera paths as nerfstudio's viewer exports them, for any number of frames."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfstudio_avatars.cli.errors import UserError

if TYPE_CHECKING:
    from nerfstudio.cameras.cameras import Cameras

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

        from nerfstudio_avatars.deformations.rotations import (
            axis_angle_to_matrix,
            matrix_to_axis_angle,
            slerp_axis_angle,
        )

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
