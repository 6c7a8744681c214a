"""SURREAL's world, camera and joints (Varol et al. 2017): y points down, and the pictures are mirrored.

SURREAL's Blender camera has a matrix of determinant -1. Its pictures, masks and joints2D are mirror images of the world
that joints3D and the SMPL poses live in: a person's left hand is seen where the right one should be. Mirroring the
pictures back gives an ordinary camera (`surreal_extrinsic`), in which left is left; poses and shapes stay as they are.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix, matrix_to_axis_angle

WIDTH, HEIGHT = 320, 240
FOCAL = 60 / 32
"""Focal length divided by the width of the picture: 60 mm for a sensor of 32 mm."""
FAR_AWAY = 1e10
"""Depth of the background in metres."""
_MIRRORED_AXES = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
"""Rotation from the world to OpenCV's camera axes in the pictures as distributed; its determinant is -1."""
AXES = np.diag([-1.0, 1.0, 1.0]) @ _MIRRORED_AXES
"""Rotation from the world to OpenCV's camera axes once the pictures are mirrored back."""
OTHER_SIDE = np.array([0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22])
"""For each joint, the one of the same name on the other side of the body."""
_Z_UP_TO_Y_DOWN = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
"""A quarter turn about x, from the z-up world of the poses to that of Blender."""


def surreal_intrinsic(width: int = WIDTH, height: int = HEIGHT) -> Float[np.ndarray, "3 3"]:
    """Camera matrix in OpenCV's convention, with the centre of the first pixel at (0, 0). Mirroring does not change
    it."""
    return np.array([[FOCAL * width, 0, (width - 1) / 2], [0, FOCAL * width, (height - 1) / 2], [0, 0, 1.0]])


def surreal_extrinsic(camera_location: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4 4"]:
    """Transform from world to camera for pictures that are mirrored back, in metres: t = -R camLoc."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = AXES, -AXES @ camera_location
    return matrix


def surreal_pixels(
    points: Float[np.ndarray, "*points 3"], camera_location: Float[np.ndarray, "3"], width: int, height: int
) -> Float[np.ndarray, "*points 2"]:
    """Projects to pixels of the mirrored pictures as in joints2D: the corner of the first pixel is (0, 0)."""
    seen = (points - camera_location) @ _MIRRORED_AXES.T
    return FOCAL * width * seen[..., :2] / seen[..., 2:] + np.array([width, height]) / 2


def orient(root: Float[Tensor, "frames 3"], zrot: Float[Tensor, " frames"]) -> Float[Tensor, "frames 3"]:
    """Global orientation of the body in SURREAL's world, as axis-angle: a quarter turn about x, after zrot, after the
    pose.

    Args:
        root: the first three rows of `pose`, axis-angle, in radians.
        zrot: angle about the vertical, in radians.
    """
    zero = torch.zeros_like(zrot)
    about_z = axis_angle_to_matrix(torch.stack([zero, zero, zrot], -1).double())
    return matrix_to_axis_angle(_Z_UP_TO_Y_DOWN @ about_z @ axis_angle_to_matrix(root.double())).float()
