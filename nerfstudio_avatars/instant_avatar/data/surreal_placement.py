"""Places an SMPL body at SURREAL's joints, and checks whether files and body agree."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.linear_blend_skinning import joint_transforms
from nerfstudio_avatars.bodies.smpl_body import SmplBody
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data.surreal_clip import SurrealClip
from nerfstudio_avatars.instant_avatar.data.surreal_world import (
    AXES,
    OTHER_SIDE,
    orient,
    surreal_extrinsic,
    surreal_pixels,
)

_ROUNDING_PX = 1.0
"""Error in pixels that comes from rounding joints2D to whole pixels."""
_WRONG_TURN = np.deg2rad(12)
"""Median angle in radians between body and joints3D that no difference in body shape explains."""
_FRAMES_FOR_MASKS = 5
_AS_DISTRIBUTED = "use the files as distributed, or correct all of the clip's files together"


@dataclass(frozen=True)
class Placement:
    """The motion of a clip, and how well body and joints agree."""

    motion: BodySequence
    """Motion in the axes of an OpenCV camera at the origin, for pictures that are mirrored back."""
    joints_px: float
    """Mean distance between projected joints3D and joints2D, in pixels."""
    body_px: float
    """Mean distance between projected joints of the body and projected joints3D, in pixels."""


def place(clip: SurrealClip, body: SmplBody, betas: Float[torch.Tensor, "10"], tolerance_px: float) -> Placement:
    """Rotates the body by `pose` and `zrot`, and translates it to joints3D.

    Raises:
        DataError: joints2D or joints3D are mirrored, upside down, or have their sides exchanged, as the message says.
    """
    joints_px = _check_joints2d(clip)
    pose = torch.from_numpy(clip.pose).float()
    turned = orient(pose[:, :3], torch.from_numpy(clip.zrot))
    motion = BodySequence(betas, turned, pose[:, 3:], torch.zeros(len(clip), 3), clip.fps, clip.gender, str(body.name))
    joints = _joints(motion, body)
    # A joint may lie elsewhere than SURREAL's (another body, another regressor): hence the mean of all.
    transl = (clip.joints3d - joints).mean(1, keepdims=True)
    body_px = _check_body(clip, joints + transl, tolerance_px)
    _check_masks(clip)
    motion = BodySequence(
        betas, turned, pose[:, 3:], torch.from_numpy(transl[:, 0]), clip.fps, clip.gender, str(body.name)
    )
    to_camera = torch.from_numpy(surreal_extrinsic(clip.camera_location)).float()
    pelvis_rest = body.rest(betas)[1][0].detach()
    return Placement(motion.in_frame(to_camera[:3, :3], to_camera[:3, 3], pelvis_rest), joints_px, body_px)


def _joints(motion: BodySequence, body: SmplBody) -> Float[np.ndarray, "frames 24 3"]:
    rest = body.rest(motion.betas)[1].detach()
    moved = joint_transforms(rest, motion.global_orient, motion.body_pose, motion.transl, body.parents)
    return (moved @ torch.nn.functional.pad(rest, (0, 1), value=1.0)[..., None])[..., :3, 0].double().numpy()


def _check_joints2d(clip: SurrealClip) -> float:
    size = np.array([clip.width, clip.height])
    seen = surreal_pixels(clip.joints3d, clip.camera_location, clip.width, clip.height)
    readings = {
        "": clip.joints2d,
        "mirrored left to right": np.array([size[0], 0]) + clip.joints2d * [-1, 1],
        "upside down": np.array([0, size[1]]) + clip.joints2d * [1, -1],
        "turned by 180 degrees": size - clip.joints2d,
        "with left and right joints exchanged": clip.joints2d[:, OTHER_SIDE],
    }
    errors = {reading: float(np.linalg.norm(seen - joints, axis=-1).mean()) for reading, joints in readings.items()}
    if errors[""] > _ROUNDING_PX:
        _raise(clip, "joints2D", "joints3D", errors, _ROUNDING_PX)
    return errors[""]


def _check_body(clip: SurrealClip, joints: np.ndarray, tolerance_px: float) -> float:
    size = clip.width, clip.height
    truth = surreal_pixels(clip.joints3d, clip.camera_location, *size)
    middle = clip.joints3d.mean(1, keepdims=True)
    mirror = np.eye(3) - 2 * np.outer(AXES[0], AXES[0])
    mirrored = middle + (joints - middle) @ mirror
    readings = {
        "": joints,
        "mirrored left to right": mirrored,
        "with left and right joints exchanged": joints[:, OTHER_SIDE],
        "with left and right joints exchanged and mirrored": mirrored[:, OTHER_SIDE],
    }
    errors = {
        reading: float(np.linalg.norm(surreal_pixels(points, clip.camera_location, *size) - truth, axis=-1).mean())
        for reading, points in readings.items()
    }
    turn = float(np.median(_turns(joints, clip.joints3d)))
    # A symmetric pose is nearly its own mirror image: a small error may have a smaller one beside it.
    if turn > _WRONG_TURN or (errors[""] > tolerance_px and min(errors.values()) < errors[""] / 2):
        _raise(clip, "joints3D", f"pose and zrot (turned by {np.rad2deg(turn):.0f} degrees)", errors, errors[""] / 2)
    if errors[""] > tolerance_px:
        warnings.warn(
            f"{clip.info}: the body's joints lie {errors['']:.1f} px on average from joints3D (more than "
            f"{tolerance_px:g}): it has other proportions. Use SMPL of the clip's gender, {clip.gender}.",
            stacklevel=2,
        )
    return errors[""]


def _turns(joints: np.ndarray, truth: np.ndarray) -> Float[np.ndarray, " frames"]:
    """Angle in radians of the rotation that best aligns the joints with the true ones in each frame (Kabsch)."""
    a, b = (points - points.mean(1, keepdims=True) for points in (joints, truth))
    u, _, v = np.linalg.svd(a.swapaxes(1, 2) @ b)
    handed = np.stack([np.ones(len(u)), np.ones(len(u)), np.linalg.det(u @ v)], -1)
    cosine = (np.trace(u * handed[:, None] @ v, axis1=1, axis2=2) - 1) / 2
    return np.arccos(cosine.clip(-1, 1))


def _raise(clip: SurrealClip, name: str, other: str, errors: dict[str, float], tolerance: float) -> None:
    reading = min(errors, key=lambda key: errors[key])
    found = f"{name} lies {errors['']:.1f} px on average from where {other} put it"
    if reading and errors[reading] <= tolerance:
        found += f"; read {reading}, only {errors[reading]:.1f} px"
    expected = f"{name} and {other} of one clip, as SURREAL mirrors them, within {tolerance:.1f} px"
    raise DataError(clip.info, found, expected, _AS_DISTRIBUTED)


def _check_masks(clip: SurrealClip) -> None:
    """Checks that the joints of the trunk are in the mask, and the pixels of the left leg at its joints."""
    frames = np.unique(np.linspace(0, len(clip) - 1, _FRAMES_FOR_MASKS).round().astype(int)).tolist()
    inside, inside_mirrored, named, exchanged = [], [], 0.0, 0.0
    for frame, labels in zip(frames, clip.layers("segm", frames), strict=True):
        places = clip.joints2d[frame]
        x, y = np.floor(places[[0, 3, 6, 9, 12]]).astype(int).T
        within = (x >= 0) & (x < clip.width) & (y >= 0) & (y < clip.height)
        x, y = x[within], y[within]
        inside += (labels[y, x] > 0).tolist()
        inside_mirrored += (labels[y, clip.width - 1 - x] > 0).tolist()
        for joint in (4, 5, 7, 8, 18, 19, 20, 21):
            rows, columns = np.nonzero(labels == joint + 1)
            if len(rows):
                middle = np.array([columns.mean(), rows.mean()]) + 0.5
                named += float(np.linalg.norm(middle - places[joint]))
                exchanged += float(np.linalg.norm(middle - places[OTHER_SIDE[joint]]))
    path = clip.beside("_segm.mat")
    if inside and np.mean(inside) < 0.5:
        found = f"{np.mean(inside):.0%} of the trunk's joints2D lie in the mask"
        found += f"; {np.mean(inside_mirrored):.0%} if it is mirrored" if np.mean(inside_mirrored) > 0.8 else ""
        raise DataError(path, found, "joints2D and masks of the same pictures", _AS_DISTRIBUTED)
    if exchanged < 0.6 * named:
        found = "the body parts' left and right labels lie at the joints of the other side (mirrored, or exchanged)"
        raise DataError(path, found, "part joint+1 at each of SMPL's joints", _AS_DISTRIBUTED)
