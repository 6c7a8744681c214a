"""Head poses against rotations that the test made itself, and scipy's Euler angles."""

from __future__ import annotations

import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.metrics.head_pose import canonical_face, head_angles, head_pose, head_rotation, similarity


def _turned(rotation):
    """The mean face's landmarks in a picture, seen from far away, after a rotation."""
    vertices, _ = canonical_face()
    return 9.5 * vertices @ rotation.float().mT + torch.tensor([130.0, 110.0, 5.0])


def _rotation(yaw, pitch, roll):
    """Rz(roll) Rx(-pitch) Ry(-yaw): with y down, the sign of scipy's rotation about x lowers the nose."""
    return torch.from_numpy(Rotation.from_euler("ZXY", [roll, -pitch, -yaw], degrees=True).as_matrix())


def test_the_mean_face_looks_at_the_camera():
    vertices, weights = canonical_face()
    nose, chin, forehead, right_eye, left_eye = (vertices[i] for i in (1, 152, 10, 33, 263))
    assert nose[2] < right_eye[2] < 0 and chin[1] > nose[1] > forehead[1] and right_eye[0] < nose[0] < left_eye[0]
    assert (weights >= 0).all() and (weights > 0).sum() == 33
    torch.testing.assert_close(head_pose(_turned(torch.eye(3))), torch.zeros(3), atol=1e-3, rtol=0)


@pytest.mark.parametrize("angles", [(30, 0, 0), (-25, 10, 5), (60, -20, -15), (0, 40, 0), (0, 0, 80)])
def test_a_known_rotation_is_found(angles):
    landmarks = _turned(_rotation(*angles))
    assert head_pose(landmarks).tolist() == pytest.approx(angles, abs=1e-2)
    torch.testing.assert_close(head_rotation(landmarks), _rotation(*angles).float(), atol=1e-4, rtol=0)


def test_signs_are_what_one_sees():
    still = _turned(torch.eye(3))
    nose, forehead, left_eye = 1, 10, 263
    assert _turned(_rotation(20, 0, 0))[nose, 0] > still[nose, 0] + 5
    assert _turned(_rotation(0, 20, 0))[nose, 1] < still[nose, 1] - 5
    rolled = _turned(_rotation(0, 0, 20))
    assert rolled[forehead, 0] > still[forehead, 0] and rolled[left_eye, 1] > still[left_eye, 1]


def test_a_mirrored_face_turns_and_rolls_the_other_way():
    landmarks = _turned(_rotation(25, 8, -6))
    vertices, _ = canonical_face()
    partner = torch.cdist(vertices * torch.tensor([-1.0, 1, 1]), vertices).argmin(dim=1)
    mirrored = (landmarks * torch.tensor([-1.0, 1, 1]) + torch.tensor([256.0, 0, 0]))[partner]
    assert head_pose(mirrored).tolist() == pytest.approx([-25, 8, 6], abs=0.5)


def test_expressions_hardly_count():
    landmarks = _turned(_rotation(15, 5, 0))
    _, weights = canonical_face()
    moved = torch.where((weights > 0)[:, None], landmarks, landmarks + 20 * torch.randn(468, 3))
    assert head_pose(moved).tolist() == pytest.approx([15, 5, 0], abs=1e-2)


def test_frames_without_a_face_have_no_pose_and_do_not_touch_the_others():
    frames = torch.stack([_turned(_rotation(10, 0, 0)), torch.full((468, 3), torch.nan)])
    poses = head_pose(frames)
    assert poses[0, 0].item() == pytest.approx(10, abs=1e-2) and poses[1].isnan().all()


def test_similarity_agrees_with_scipy_and_never_mirrors():
    generator = torch.Generator().manual_seed(0)
    source, target = torch.randn(2, 6, 30, 3, generator=generator, dtype=torch.float64).unbind(0)
    weights = torch.rand(30, generator=generator, dtype=torch.float64)
    scale, rotation, translation = similarity(source, target, weights)
    for i in range(6):
        middles = [(weights[:, None] * points[i]).sum(0) / weights.sum() for points in (source, target)]
        expected, _ = Rotation.align_vectors(
            (target[i] - middles[1]).numpy(), (source[i] - middles[0]).numpy(), weights.numpy()
        )
        torch.testing.assert_close(rotation[i], torch.from_numpy(expected.as_matrix()), atol=1e-6, rtol=0)
    assert torch.linalg.det(rotation).min() > 0.99
    moved = scale[:, None, None] * source @ rotation.mT + translation[:, None]
    # At the best scale and translation the residual is orthogonal to what was moved, and sums to zero.
    residual = weights[:, None] * (target - moved)
    torch.testing.assert_close(residual.sum(1), torch.zeros(6, 3).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close((residual * moved).sum((1, 2)), torch.zeros(6).double(), atol=1e-9, rtol=0)


def test_angles_are_scipys():
    rotations = Rotation.random(50, random_state=0)
    expected = torch.from_numpy(rotations.as_euler("ZXY", degrees=True))
    found = head_angles(torch.from_numpy(rotations.as_matrix()))
    torch.testing.assert_close(found, torch.stack([-expected[:, 2], -expected[:, 1], expected[:, 0]], dim=-1))
