"""Poses made wrong on purpose, as estimators get them wrong, and how far poses are from the true ones."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import h5py
import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import BodyModel
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.linear_blend_skinning import joint_transforms
from nerfstudio_avatars.bodies.rotations import axis_angle_to_quaternion, compose_axis_angle

POSES = "reconstructed_poses.hdf5"
MIRRORED_JOINTS = (2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22)
"""For each of SMPL's joints 1..23 the one on the other side of the body."""


def jittered(motion: BodySequence, frames: Sequence[int], degrees: float, metres: float, seed: int = 0) -> BodySequence:
    """Turns every joint and the root of some frames, and moves them, each frame on its own.

    Args:
        motion: the true poses.
        frames: which of its frames.
        degrees: standard deviation of each of the three components of a joint's additional rotation vector; the mean
            angle is 1.6 times as large.
        metres: standard deviation of each coordinate of the translation.
        seed: the same seed draws the same errors, scaled by `degrees` and `metres`.
    """
    generator = torch.Generator().manual_seed(seed)
    index = torch.as_tensor(frames)
    turns = torch.randn(len(index), 24, 3, generator=generator) * math.radians(degrees)
    moves = torch.randn(len(index), 3, generator=generator) * metres
    pose = torch.cat([motion.global_orient, motion.body_pose], 1)
    pose[index] = compose_axis_angle(pose[index].unflatten(1, (24, 3)), turns).flatten(1)
    transl = motion.transl.clone()
    transl[index] += moves
    return replace(motion, global_orient=pose[:, :3], body_pose=pose[:, 3:], transl=transl)


def flipped(motion: BodySequence, frames: Sequence[int]) -> BodySequence:
    """Takes the back for the front in some frames: half a turn about the body's own axis, left and right exchanged.

    The silhouette stays almost the same, which is why estimators make this mistake.
    """
    index = torch.as_tensor(frames)
    half_turn = torch.tensor([0.0, math.pi, 0.0]).expand(len(index), 3)
    global_orient, body_pose = motion.global_orient.clone(), motion.body_pose.clone()
    global_orient[index] = compose_axis_angle(motion.global_orient[index], half_turn)
    exchanged = motion.body_pose[index].unflatten(1, (23, 3))[:, [joint - 1 for joint in MIRRORED_JOINTS]]
    body_pose[index] = (exchanged * torch.tensor([1.0, -1.0, -1.0])).flatten(1)
    return replace(motion, global_orient=global_orient, body_pose=body_pose)


def copy_with_poses(folder: Path, out: Path, motion: BodySequence) -> Path:
    """Copies a drawn subject's folder, in PeopleSnapshot's format, with other poses of the video's frames."""
    shutil.copytree(folder, out)
    with h5py.File(out / POSES, "r+") as file:
        file["pose"][:] = torch.cat([motion.global_orient, motion.body_pose], 1).numpy()
        file["trans"][:] = motion.transl.numpy()
    return out


@dataclass(frozen=True)
class PoseError:
    """Mean distance of poses from the true ones."""

    joints_degrees: float
    """Angle between a joint's rotations relative to its parent; joints 1..23."""
    orient_degrees: float
    """Angle between the root's rotations."""
    root_cm: float
    """Between the roots' positions."""
    joint_positions_cm: float
    """Between the positions of all 24 joints: what the errors of a chain of joints add up to, and what can be seen."""

    def rounded(self) -> dict[str, float]:
        """For a report."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


def pose_error(
    poses: Float[Tensor, "frames 75"], truth: Float[Tensor, "frames 75"], body: BodyModel, betas: Float[Tensor, "10"]
) -> PoseError:
    """Compares orientations, body poses and translations (radians, metres) frame by frame."""
    turn = compose_axis_angle(-truth[:, :72].unflatten(1, (24, 3)), poses[:, :72].unflatten(1, (24, 3)))
    angle = 2 * axis_angle_to_quaternion(turn)[..., 1:].norm(dim=-1).clamp(max=1).asin().rad2deg()
    rest = body.rest(betas)[1]
    found, true = (_joint_positions(x, rest, body.parents) for x in (poses, truth))
    distance = 100 * (found - true).norm(dim=-1)
    return PoseError(
        joints_degrees=float(angle[:, 1:].mean()),
        orient_degrees=float(angle[:, 0].mean()),
        root_cm=float(distance[:, 0].mean()),
        joint_positions_cm=float(distance.mean()),
    )


def _joint_positions(pose: Tensor, rest: Tensor, parents: Sequence[int]) -> Float[Tensor, "frames 24 3"]:
    transforms = joint_transforms(rest, pose[:, :3], pose[:, 3:72], pose[:, 72:], parents)
    return (transforms[..., :3, :3] @ rest[..., None])[..., 0] + transforms[..., :3, 3]
