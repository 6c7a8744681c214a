"""Poses made by hand, against the body itself."""

from dataclasses import replace

import pytest
import torch

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES, BodyState
from nerfstudio_avatars.motion.staging import upright_facing
from nerfstudio_avatars.studio.pose_editor import LIMBS, PoseEditor

UPRIGHT = torch.tensor([torch.pi / 2, 0.0, 0.0])


def standing():
    orient = upright_facing(UPRIGHT)
    return BodyState(torch.zeros(10), orient, torch.zeros(69), torch.tensor([0.4, 0.1, 0.2]))


@pytest.fixture
def editor():
    return PoseEditor(standing())


def test_every_joint_of_the_body_has_its_limb():
    joints = [joint for limb in LIMBS.values() for joint in limb]
    assert sorted(joints) == sorted(JOINT_NAMES)


def test_a_joint_moves_what_hangs_on_it_and_nothing_else(editor, standin):
    before = standin.pose(editor.state).joints
    editor.turn("left_elbow", 1, -1.0, now=0.0)
    moved = (standin.pose(editor.state).joints - before).norm(dim=-1) > 1e-3
    assert {JOINT_NAMES[joint] for joint in moved.nonzero()[:, 0].tolist()} == {"left_wrist", "left_hand"}


def test_the_mirrored_body_is_the_body_in_the_mirror(editor, standin, random_pose):
    drawn = random_pose(3, 0.5)
    orient = torch.tensor([1.4, 0.3, -0.5])
    editor.take(replace(drawn, betas=torch.zeros(10), global_orient=orient, transl=torch.zeros(3)))
    before = standin.pose(editor.state).joints
    editor.mirror()
    after = standin.pose(editor.state).joints
    swapped = [JOINT_NAMES.index(_other(name)) for name in JOINT_NAMES]
    pelvis = before[0]
    # The stand-in's two sides are alike to a few millimetres. Distances within a body do not depend on the mirror.
    torch.testing.assert_close(
        torch.cdist(after, after), torch.cdist(before[swapped], before[swapped]), atol=2e-2, rtol=0
    )
    torch.testing.assert_close(after[:, 2] - after[0, 2], before[swapped, 2] - pelvis[2], atol=2e-2, rtol=0)
    chirality = torch.linalg.det((before[[4, 16, 18]] - pelvis).double())
    assert chirality * torch.linalg.det((after[[5, 17, 19]] - after[0]).double()) < 0
    editor.mirror()
    torch.testing.assert_close(standin.pose(editor.state).joints, before, atol=1e-4, rtol=0)


def _other(name):
    side, _, rest = name.partition("_")
    return {"left": f"right_{rest}", "right": f"left_{rest}"}.get(side, name)


def test_one_side_is_copied_to_the_other(editor, random_pose):
    editor.take(random_pose(1))
    left = {name: editor.rotation(name) for name in JOINT_NAMES if name.startswith("left")}
    editor.copy_side("left")
    for name, rotation in left.items():
        assert torch.equal(editor.rotation(name), rotation)
        assert torch.equal(editor.rotation(_other(name)), rotation * torch.tensor([1.0, -1.0, -1.0]))


def test_changes_are_undone_and_made_again(editor):
    editor.turn("left_knee", 0, 0.4, now=0.0)
    editor.turn("neck", 0, 0.2, now=10.0)
    changed = editor.state
    assert editor.undo() and editor.undo() and not editor.undo()
    assert torch.equal(editor.state.packed(), standing().packed())
    assert editor.redo() and editor.redo() and not editor.redo()
    assert torch.equal(editor.state.packed(), changed.packed())
    editor.undo()
    editor.mirror()
    assert not editor.redo()


def test_one_drag_is_undone_at_once_and_two_are_not(editor):
    for step in range(10):
        editor.turn("left_knee", 0, 0.1 * step, now=0.1 * step)
    editor.undo()
    assert torch.equal(editor.state.packed(), standing().packed())
    editor.turn("left_knee", 0, 0.5, now=20.0)
    editor.turn("left_knee", 0, 0.9, now=30.0)
    editor.undo()
    assert editor.rotation("left_knee")[0] == 0.5


def test_the_whole_body_is_moved_and_the_move_undone(editor):
    for step in range(5):
        editor.move(torch.tensor([0.1, 0.0, 0.0]), now=0.1 * step)
    torch.testing.assert_close(editor.state.transl, standing().transl + torch.tensor([0.5, 0.0, 0.0]))
    assert editor.undo() and not editor.undo()
    assert torch.equal(editor.state.packed(), standing().packed())


def test_reset_brings_back_a_limb_or_all(editor, random_pose):
    editor.take(random_pose(2))
    editor.reset(LIMBS["Left arm"])
    assert torch.equal(editor.rotation("left_elbow"), torch.zeros(3))
    assert editor.rotation("right_elbow").abs().sum() > 0
    assert not torch.equal(editor.state.transl, standing().transl)
    editor.reset()
    assert torch.equal(editor.state.packed(), standing().packed())
