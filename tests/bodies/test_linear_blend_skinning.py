"""Skinning against scipy's rotations and a chain of joints written out one by one."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.bodies.linear_blend_skinning import _tree, blend_transforms, joint_transforms, skin


def rigid(rotation: Rotation, translation: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation.as_matrix(), translation
    return matrix


def one_by_one(joints: np.ndarray, angles: np.ndarray, transl: np.ndarray, parents: tuple[int, ...]) -> np.ndarray:
    """World transforms down the tree, in float64, with homogeneous matrices (SMPL, eq. 4)."""
    world: list[np.ndarray] = []
    for joint, parent in enumerate(parents):
        above = np.eye(4) if parent < 0 else world[parent]
        offset = joints[joint] - (0 if parent < 0 else joints[parent])
        world.append(above @ rigid(Rotation.from_rotvec(angles[joint]), offset))
    rest = [np.linalg.inv(rigid(Rotation.identity(), joint)) for joint in joints]
    return np.stack([rigid(Rotation.identity(), transl) @ w @ r for w, r in zip(world, rest, strict=True)])


def test_joint_transforms_are_the_chain_of_the_joints(standin):
    rng = np.random.default_rng(0)
    joints, angles, transl = rng.normal(size=(24, 3)), rng.normal(size=(24, 3)), rng.normal(size=3)
    expected = one_by_one(joints, angles, transl, standin.parents)
    tensors = [torch.from_numpy(part) for part in (joints, angles[0], angles[1:].reshape(69), transl)]
    torch.testing.assert_close(joint_transforms(*tensors, standin.parents), torch.from_numpy(expected))


def test_joint_transforms_of_a_batch_are_those_of_its_members(standin):
    torch.manual_seed(0)
    joints, orient, body, transl = (torch.randn(*size) for size in ((24, 3), (2, 3, 3), (2, 3, 69), (2, 3, 3)))
    batch = joint_transforms(joints, orient, body, transl, standin.parents)
    assert batch.shape == (2, 3, 24, 4, 4)
    alone = joint_transforms(joints, orient[1, 2], body[1, 2], transl[1, 2], standin.parents)
    torch.testing.assert_close(batch[1, 2], alone)


def test_joint_transforms_have_the_gradients_of_finite_differences(standin):
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(size, generator=generator, dtype=torch.float64) for size in ((24, 3), 3, 69, 3)]
    inputs[2][9:40] = 0  # Joints at rest, where a careless formula divides zero by zero.
    direction = torch.randn(24, 4, 4, generator=generator, dtype=torch.float64)

    def along(*parts: torch.Tensor) -> torch.Tensor:
        return (joint_transforms(*parts, standin.parents) * direction).sum()

    assert torch.autograd.gradcheck(along, [part.requires_grad_() for part in inputs])


def test_transl_moves_every_joint_by_itself(standin):
    joints, shift = torch.randn(24, 3), torch.tensor([0.1, -0.2, 0.3])
    still = joint_transforms(joints, torch.ones(3), torch.ones(69), torch.zeros(3), standin.parents)
    moved = joint_transforms(joints, torch.ones(3), torch.ones(69), shift, standin.parents)
    expected = still.clone()
    expected[:, :3, 3] += shift
    torch.testing.assert_close(moved, expected)


def test_skin_of_a_single_joint_is_its_rigid_motion():
    rotation, shift = Rotation.from_rotvec([0.3, -1.0, 0.5]), np.array([1.0, 2.0, -3.0])
    points = np.random.default_rng(0).normal(size=(5, 3))
    transforms = torch.from_numpy(np.stack([rigid(rotation, shift), np.eye(4)]))
    weights = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(5, 2)
    moved = skin(torch.from_numpy(points), weights, transforms)
    torch.testing.assert_close(moved, torch.from_numpy(rotation.apply(points) + shift))


def test_blended_transforms_are_affine_in_the_weights():
    transforms = torch.randn(2, 4, 4)
    blended = blend_transforms(torch.tensor([[0.25, 0.75]]), transforms)
    torch.testing.assert_close(blended[0], 0.25 * transforms[0] + 0.75 * transforms[1])


def test_transforms_made_for_a_render_leave_training_differentiable(standin):
    _tree.cache_clear()
    joints = torch.randn(24, 3)
    pose = torch.randn(69, requires_grad=True)
    with torch.inference_mode():
        joint_transforms(joints, torch.zeros(3), pose, torch.zeros(3), standin.parents)
    joint_transforms(joints, torch.zeros(3), pose, torch.zeros(3), standin.parents).sum().backward()
    assert pose.grad is not None and pose.grad.isfinite().all()
