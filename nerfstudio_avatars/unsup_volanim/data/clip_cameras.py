"""The single camera of the method, in nerfstudio's world."""

from __future__ import annotations

import torch
from jaxtyping import Int
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor

from nerfstudio_avatars.unsup_volanim.data.clip_table import ClipTable
from nerfstudio_avatars.unsup_volanim.standard_camera import DISTANCE, FOCAL, REACH

NEAR, FAR = DISTANCE - REACH, DISTANCE + REACH
"""Near and far end of the scene along the camera axis; the middle of the scene is the origin of the world."""
_CAMERA_TO_WORLD = ((-1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0, DISTANCE), (0.0, 1.0, 0.0, 0.0))
"""Camera pose in OpenGL axes (x right, y up, z backward), in the world (z up): at +y, which the person faces."""


def clip_cameras(table: ClipTable, rows: Int[Tensor, "rows 2"], size: int) -> Cameras:
    """One camera per (clip, frame), which differ only in `clip`, `frame` and time.

    Args:
        table: has the lengths of the clips; times run from 0 to 1 in each.
        rows: clip and frame numbers.
        size: of the square pictures, in pixels.
    """
    clip, frame = rows.long().split(1, -1)
    # Of the clips that occur: there may be a hundred thousand, and a step takes a few.
    used, place = clip.unique(return_inverse=True)
    lengths = torch.tensor([table[number].frames for number in used.tolist()])
    return Cameras(
        camera_to_worlds=torch.tensor(_CAMERA_TO_WORLD).expand(len(rows), 3, 4),
        fx=FOCAL * size / 2,
        fy=FOCAL * size / 2,
        cx=size / 2,
        cy=size / 2,
        width=size,
        height=size,
        camera_type=CameraType.PERSPECTIVE,
        times=frame / (lengths[place] - 1).clamp_min(1),
        metadata={"clip": clip, "frame": frame},
    )


def clip_scene_box() -> SceneBox:
    """The box that the camera sees between near and far."""
    half = torch.tensor([FAR / FOCAL, (FAR - NEAR) / 2, FAR / FOCAL])
    return SceneBox(torch.stack([-half, half]))
