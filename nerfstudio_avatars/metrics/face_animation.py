"""Measures how well an animated face follows the driving one, and how well its identity is kept.

The definitions are this project's; the names are those of the literature, which uses other networks: AKD uses 68
landmarks of another detector, AED uses OpenFace, and the paper's definitions of AYD, ShC and PoC are not public. None
of these figures can be compared with published ones.

Frames without a face are NaN, as in the results of `FaceLandmarks.detect_all` and `FaceIdentity.embed_all`.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerfstudio_avatars.metrics.face_landmarks import EYES_OUTER
from nerfstudio_avatars.metrics.geometry import rotation_error
from nerfstudio_avatars.metrics.head_pose import head_rotation, similarity

Landmarks = Float[Tensor, "frames 468 3"]

REFERENCE_SIDE = 256
"""Pixels of the picture that distances are given in."""


def akd(generated: Landmarks, true: Landmarks, side: int = REFERENCE_SIDE) -> float:
    """Average keypoint distance: mean |difference| of the 468 x 2 picture coordinates, pixels of a 256 picture.

    Per coordinate, not Euclidean; averaged over landmarks, then over frames with a face in both pictures. Frames
    without one are left out here, and counted by `mkr`.

    Args:
        side: of the pictures that the landmarks come from, pixels.

    Returns:
        Not a number where no frame has a face in both.
    """
    both = has_face(generated) & has_face(true)
    difference = (generated[both, :, :2] - true[both, :, :2]).abs()
    return difference.mean().item() * REFERENCE_SIDE / side


def mkr(generated: Landmarks, true: Landmarks) -> float:
    """Missing keypoint rate: share of the frames with a true face whose generated picture has none.

    Returns:
        Not a number where no true frame has a face.
    """
    expected = has_face(true)
    return (
        (expected & ~has_face(generated)).sum().item() / max(expected.sum().item(), 1) if expected.any() else torch.nan
    )


def aed(generated: Float[Tensor, "frames 128"], true: Float[Tensor, "frames 128"]) -> float:
    """Average embedding distance: mean over frames of the squared Euclidean distance of `FaceIdentity`'s embeddings.

    Over the frames with both. dlib's network, whose threshold for the same person is 0.36 on this scale; it is not
    OpenFace, on which papers report AED.
    """
    squared = (generated - true).square().sum(-1)
    return squared[squared.isfinite()].mean().item()


def yaw_deviation(
    yaw: Float[Tensor, " frames"], unturned: Float[Tensor, " frames"], requested: Float[Tensor, " frames"]
) -> float:
    """Average yaw deviation: mean |measured - requested| turn, degrees, over the frames with a face in both pictures.

    The landmarks understate turns: of faces painted on the mean face's mesh and turned by 10 to 30 degrees they report
    0.7. So a perfect avatar does not score zero here: compare methods, or the same request on a true head.

    Args:
        yaw: measured in the pictures rendered from a turned view (`head_pose`), degrees.
        unturned: measured in the same frames' pictures from the usual view; the difference is the measured turn.
        requested: by how much the view was turned, with the sign that turns the face to the picture's right.
    """
    error = (yaw - unturned - requested + 180) % 360 - 180
    return error[error.isfinite()].abs().mean().item()


def pose_consistency(animated: Landmarks, driving: Landmarks) -> float:
    """Mean angle between the head's rotations in the animated and in the driving frames, degrees.

    Rotations of the mean face (`head_rotation`), absolute; over the frames with a face in both pictures.
    """
    both = has_face(animated) & has_face(driving)
    return rotation_error(head_rotation(animated[both]), head_rotation(driving[both])).mean().item()


def shape_consistency(animated: Landmarks, source: Float[Tensor, "468 3"]) -> float:
    """Mean distance of the 3D landmarks from the source's without pose and size, in % of the inter-ocular distance.

    Each frame is moved onto the source by the similarity with least squares over all 468 landmarks; the distance is the
    mean over landmarks and over frames with a face, divided by the distance of the source's outer eye corners.
    Expression counts as shape: compare with the driving frames' own figure, or between methods on the same frames.
    """
    found = animated[has_face(animated)]
    scale, rotation, translation = similarity(found, source.expand_as(found))
    moved = scale[:, None, None] * found @ rotation.mT + translation[:, None]
    eyes = (source[EYES_OUTER[0]] - source[EYES_OUTER[1]]).norm()
    return 100 * ((moved - source).norm(dim=-1).mean() / eyes).item()


def has_face(landmarks: Landmarks) -> Bool[Tensor, " frames"]:
    """The frames whose landmarks are numbers."""
    return landmarks.isfinite().all(-1).all(-1)
