"""Estimates head rotation from landmarks, by a rigid fit of MediaPipe's mean face.

Frames: x right, y down, z away from the camera, as landmarks in a picture have them.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

FACE_ASSETS = Path(__file__).parents[1] / "assets" / "face"
"""Models that ship with the package; `NOTICE` beside them names their authors."""


@functools.lru_cache
def canonical_face() -> tuple[Float[Tensor, "468 3"], Float[Tensor, "468"]]:
    """MediaPipe's mean face in centimetres, upright and facing the camera, and each landmark's weight in a rigid fit.

    33 landmarks that expressions hardly move have a weight; the others have none.
    """
    with np.load(FACE_ASSETS / "canonical_face.npz", allow_pickle=False) as file:
        vertices, weights = torch.from_numpy(file["vertices_cm"]), torch.from_numpy(file["procrustes_weights"])
    # The file's y is up and its z towards the viewer.
    return vertices * torch.tensor([1.0, -1.0, -1.0]), weights


def similarity(
    source: Float[Tensor, "*batch points 3"],
    target: Float[Tensor, "*batch points 3"],
    weights: Float[Tensor, " points"] | None = None,
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 3"]]:
    """Scale s, rotation R and translation t that minimise the weighted sum of |s R source + t - target|^2.

    Umeyama 1991, eq. 40 to 42. Points that are not finite give a fit of NaN.
    """
    dtype = source.dtype
    share = torch.ones_like(source[..., 0]) if weights is None else weights.to(source).expand(source.shape[:-1])
    share = (share / share.sum(-1, keepdim=True))[..., None]
    source, target = torch.broadcast_tensors(source, target)
    finite = (source.isfinite() & target.isfinite()).all(-1).all(-1)
    # The decomposition refuses numbers that are none; they are put back below.
    source, target = (points.nan_to_num(0, 0, 0).double() for points in (source, target))
    middles = [(share * points).sum(-2, keepdim=True) for points in (source, target)]
    centred = [points - middle for points, middle in zip((source, target), middles, strict=True)]
    left, singular, right = torch.linalg.svd((share * centred[1]).mT @ centred[0])
    # A reflection would fit better where the two determinants differ: the weakest axis is turned round.
    handed = torch.ones_like(singular)
    handed[..., 2] = torch.sign(torch.linalg.det(left) * torch.linalg.det(right))
    rotation = (left * handed[..., None, :]) @ right
    scale = (singular * handed).sum(-1) / (share * centred[0].square()).sum((-2, -1))
    translation = (middles[1] - scale[..., None, None] * middles[0] @ rotation.mT)[..., 0, :]
    nothing = torch.full((), torch.nan, dtype=torch.float64, device=source.device)
    return (
        torch.where(finite, scale, nothing).to(dtype),
        torch.where(finite[..., None, None], rotation, nothing).to(dtype),
        torch.where(finite[..., None], translation, nothing).to(dtype),
    )


def head_rotation(landmarks: Float[Tensor, "*frames 468 3"]) -> Float[Tensor, "*frames 3 3"]:
    """Rotation of the frontal, upright mean face to that in the picture, by a weighted Procrustes fit with scale.

    Landmarks are treated as a weak-perspective view. Frames without a face (NaN) give NaN.
    """
    vertices, weights = canonical_face()
    return similarity(vertices.to(landmarks).expand_as(landmarks), landmarks, weights.to(landmarks))[1]


def head_angles(rotation: Float[Tensor, "*frames 3 3"]) -> Float[Tensor, "*frames 3"]:
    """Yaw, pitch and roll in degrees of a rotation from head to camera, R = Rz(roll) Rx(-pitch) Ry(-yaw).

    Positive yaw turns the nose towards the right of the picture, positive pitch lifts it, and positive roll turns the
    head clockwise in the picture.
    """
    yaw = torch.atan2(rotation[..., 2, 0], rotation[..., 2, 2])
    pitch = torch.asin((-rotation[..., 2, 1]).clamp(-1, 1))
    roll = torch.atan2(-rotation[..., 0, 1], rotation[..., 1, 1])
    return torch.stack([yaw, pitch, roll], dim=-1).rad2deg()


def head_pose(landmarks: Float[Tensor, "*frames 468 3"]) -> Float[Tensor, "*frames 3"]:
    """Yaw, pitch and roll in degrees, as in `head_angles`; zero is the mean face looking at the camera."""
    return head_angles(head_rotation(landmarks))
