"""Measures how well an animated face follows the driving one, and how well its identity is kept.

The definitions are this project's; the names are those of the literature, which uses other networks: AKD uses 68
landmarks of another detector, AED uses OpenFace, and the paper's definitions of AYD, ShC and PoC are not public. None
of these figures can be compared with published ones.

Frames without a face are NaN, as in the results of `FaceLandmarks.detect_all` and `embed_faces`.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerfstudio_avatars.metrics.face_landmarks import EYES_OUTER
from nerfstudio_avatars.metrics.geometry import rotation_error
from nerfstudio_avatars.metrics.head_pose import head_rotation, similarity

Landmarks = Float[Tensor, "frames 468 3"]

_REFERENCE_SIDE = 256
"""Side in pixels of the picture that distances refer to."""


def akd(generated: Landmarks, true: Landmarks, side: int = _REFERENCE_SIDE) -> float:
    """Average keypoint distance: mean |difference| of the 468 x 2 picture coordinates, pixels of a 256 picture.

    Measured per coordinate, not Euclidean; averaged over landmarks, then over frames with a face in both pictures.
    Other frames are left out here, and counted by `mkr`.

    Args:
        side: of the pictures that the landmarks come from, in pixels.

    Returns:
        The distance, or NaN if no frame has a face in both.
    """
    both = has_face(generated) & has_face(true)
    difference = (generated[both, :, :2] - true[both, :, :2]).abs()
    return difference.mean().item() * _REFERENCE_SIDE / side


def mkr(generated: Landmarks, true: Landmarks) -> float:
    """Missing keypoint rate: share of the frames with a true face whose generated picture has none.

    Returns:
        The rate, or NaN if no true frame has a face.
    """
    expected = has_face(true)
    return (
        (expected & ~has_face(generated)).sum().item() / max(expected.sum().item(), 1) if expected.any() else torch.nan
    )


def aed(generated: Float[Tensor, "frames 128"], true: Float[Tensor, "frames 128"]) -> float:
    """Average embedding distance: mean over frames of the squared Euclidean distance of two embeddings.

    Measured over frames that have both, with dlib's network (`embed_faces`), whose threshold for the same person is
    0.36 on this scale. Papers report AED with OpenFace instead.
    """
    squared = (generated - true).square().sum(-1)
    return squared[squared.isfinite()].mean().item()


def yaw_deviation(
    yaw: Float[Tensor, " frames"], unturned: Float[Tensor, " frames"], requested: Float[Tensor, " frames"]
) -> float:
    """Average yaw deviation: mean |measured - requested| turn, in degrees, over frames with a face in both.

    Landmarks understate turns: for faces painted on the mesh of the mean face and turned by 10 to 30 degrees, they show
    0.7 of the turn. A perfect avatar does therefore not score zero: compare methods, or the same request on a true
    head.

    Args:
        yaw: measured in pictures rendered from a turned view (`head_pose`), in degrees.
        unturned: measured in pictures of the same frames from the usual view; the difference is the measured turn.
        requested: the turn of the view; positive turns the face towards the right of the picture.
    """
    error = (yaw - unturned - requested + 180) % 360 - 180
    return error[error.isfinite()].abs().mean().item()


def pose_consistency(animated: Landmarks, driving: Landmarks) -> float:
    """Mean angle in degrees between the rotations of the head in the animated and in the driving frames.

    Rotations are absolute ones of the mean face (`head_rotation`), over frames with a face in both pictures.
    """
    both = has_face(animated) & has_face(driving)
    return rotation_error(head_rotation(animated[both]), head_rotation(driving[both])).mean().item()


def shape_consistency(animated: Landmarks, source: Float[Tensor, "468 3"]) -> float:
    """Mean distance of 3D landmarks from those of the source, without pose and size, in % of the inter-ocular distance.

    Each frame is aligned with the source by the similarity that is best for all 468 landmarks (least squares). The
    distance is the mean over landmarks and frames with a face, divided by the distance of the source's outer eye
    corners. Expression counts as shape: compare with the figure of the driving frames, or between methods on the same
    frames.
    """
    found = animated[has_face(animated)]
    scale, rotation, translation = similarity(found, source.expand_as(found))
    moved = scale[:, None, None] * found @ rotation.mT + translation[:, None]
    eyes = (source[EYES_OUTER[0]] - source[EYES_OUTER[1]]).norm()
    return 100 * ((moved - source).norm(dim=-1).mean() / eyes).item()


def has_face(landmarks: Landmarks) -> Bool[Tensor, " frames"]:
    """The frames that have landmarks (not NaN)."""
    return landmarks.isfinite().all(-1).all(-1)
