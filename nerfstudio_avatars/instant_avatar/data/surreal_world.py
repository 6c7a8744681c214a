"""SURREAL's world, camera and joints (Varol et al. 2017): y points down, and the pictures are mirrored.

SURREAL's Blender camera has a matrix of determinant -1. Its pictures, masks and joints2D are mirror images of the world
that joints3D and the SMPL poses live in: a person's left hand is seen where the right one should be. Mirroring the
pictures back gives an ordinary camera (`extrinsic`), in which left is left, and leaves poses and shapes untouched.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix, matrix_to_axis_angle

WIDTH, HEIGHT = 320, 240
FOCAL = 60 / 32
"""Focal length over the picture's width: 60 mm before a sensor of 32 mm."""
FAR_AWAY = 1e10
"""Depth of the background, metres."""
MIRRORED_AXES = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
"""World -> OpenCV's camera axes in the pictures as distributed; determinant -1."""
AXES = np.diag([-1.0, 1.0, 1.0]) @ MIRRORED_AXES
"""World -> OpenCV's camera axes once the pictures are mirrored back: a rotation."""
OTHER_SIDE = np.array([0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22])
"""For each joint, the one of the same name on the other side of the body."""
_Z_UP_TO_Y_DOWN = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
"""A quarter turn about x: the poses' z-up world -> Blender's."""


def intrinsic(width: int = WIDTH, height: int = HEIGHT) -> Float[np.ndarray, "3 3"]:
    """Camera matrix; OpenCV's convention, the centre of the first pixel at (0, 0). Mirroring leaves it as it is."""
    return np.array([[FOCAL * width, 0, (width - 1) / 2], [0, FOCAL * width, (height - 1) / 2], [0, 0, 1.0]])


def extrinsic(camera_location: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4 4"]:
    """World -> camera for pictures mirrored back, metres: t = -R camLoc."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = AXES, -AXES @ camera_location
    return matrix


def project(
    points: Float[np.ndarray, "*points 3"], camera_location: Float[np.ndarray, "3"], width: int, height: int
) -> Float[np.ndarray, "*points 2"]:
    """World -> pixels of the mirrored pictures as joints2D counts them: the corner of the first pixel is (0, 0)."""
    seen = (points - camera_location) @ MIRRORED_AXES.T
    return FOCAL * width * seen[..., :2] / seen[..., 2:] + np.array([width, height]) / 2


def orient(root: Float[Tensor, "frames 3"], zrot: Float[Tensor, "frames"]) -> Float[Tensor, "frames 3"]:
    """The body's global orientation in SURREAL's world, axis-angle: a quarter turn about x, after zrot, after the pose.

    Args:
        root: first three rows of `pose`, axis-angle, radians.
        zrot: angle about the vertical, radians.
    """
    zero = torch.zeros_like(zrot)
    about_z = axis_angle_to_matrix(torch.stack([zero, zero, zrot], -1).double())
    return matrix_to_axis_angle(_Z_UP_TO_Y_DOWN @ about_z @ axis_angle_to_matrix(root.double())).float()
