"""Where the head and the hands are in pictures: few pixels, which everybody looks at."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES, PosedBody
from nerfstudio_avatars.instant_avatar.person import Person

HEAD = JOINT_NAMES.index("head")
WRISTS = tuple(JOINT_NAMES.index(f"{side}_wrist") for side in ("left", "right"))
_ABOVE = 0.1
"""Distance in metres of the middle of the head from its joint."""
_HEAD_SIDE, _HANDS_SIDE = 0.36, 0.3
"""Sides in metres of the windows about the head, and about a wrist."""
_SMALLEST = 8
"""Smallest side of a window in pixels."""


def middle_of_head(body: PosedBody) -> Float[Tensor, "3"]:
    """The middle of the head, in metres."""
    return body.joints[HEAD] + _ABOVE * body.joint_transforms[HEAD, :3, 1]


def window_about(point: Float[Tensor, "3"], side: float, camera: Cameras, size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a square about a point of the world, within the picture.

    Args:
        point: in front of the camera, metres.
        side: of the square, in metres at the point's depth.
        camera: one camera, without distortion.
        size: height and width of its picture, in pixels, at least 8.
    """
    pose = camera.camera_to_worlds.reshape(3, 4)
    x, y, z = (pose[:, :3].T @ (point - pose[:, 3])).tolist()
    focal = float(camera.fx)
    half = max(focal * side / max(-z, 1e-3) / 2, _SMALLEST / 2)

    def within(middle: float, most: int) -> slice:
        start = min(max(math.floor(middle - half), 0), most - _SMALLEST)
        return slice(start, max(min(math.ceil(middle + half), most), start + _SMALLEST))

    column, row = float(camera.cx) - focal * x / z, float(camera.cy) + float(camera.fy) * y / z
    return within(row, size[0]), within(column, size[1])


@torch.no_grad()
def detail_masks(person: Person, cameras: Cameras, frames: tuple[int, ...]) -> Bool[Tensor, "images height width"]:
    """Pixels about the head and the hands.

    Args:
        person: whose poses in the data are close to the truth.
        cameras: one for each picture, all of one size.
        frames: the frame of each picture.
    """
    size = int(cameras.height[0]), int(cameras.width[0])
    masks = torch.zeros(len(frames), *size, dtype=torch.bool)
    for image, frame in enumerate(frames):
        posed = person.body.pose(person.motion.state(frame))
        places = [(middle_of_head(posed), _HEAD_SIDE), *((posed.joints[wrist], _HANDS_SIDE) for wrist in WRISTS)]
        for point, side in places:
            masks[image][window_about(point, side, cameras[image], size)] = True
    return masks
