"""What a drag in the picture does to the pose, without a page."""

from types import SimpleNamespace

import pytest
import torch

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES
from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.motion import load_motion
from nerfstudio_avatars.studio.handles import Handles
from nerfstudio_avatars.studio.session import OWN_POSE, Clip, Session


@pytest.fixture
def handles(standin, unchecked_types):
    walk = load_motion("walk")
    session = Session(Clip.of(walk), walk.state(0), standin.rest(torch.zeros(10))[1][0])
    model = SimpleNamespace(person=SimpleNamespace(body=standin))
    show = SimpleNamespace(session=session, model=model, shown=lambda: session.shaped(session.state()))
    return Handles(SimpleNamespace(), show, lambda: None)


def posed(handles, standin):
    return standin.pose(handles._show.session.state())


@pytest.mark.parametrize("joint", ["spine2", "left_shoulder", "right_knee", "head"])
def test_a_ring_turns_its_joint_in_the_world(handles, standin, joint):
    number = JOINT_NAMES.index(joint)
    before = posed(handles, standin)
    turn = axis_angle_to_matrix(torch.tensor([0.3, -0.5, 0.9])) @ before.joint_transforms[number, :3, :3]
    handles.drag(joint, before.joints[number], turn)
    after = posed(handles, standin)
    torch.testing.assert_close(after.joint_transforms[number, :3, :3], turn, atol=1e-5, rtol=0)
    torch.testing.assert_close(after.joints[number], before.joints[number], atol=1e-5, rtol=0)
    assert handles._show.session.chosen == OWN_POSE


def test_an_arrow_takes_the_foot_along_and_the_pelvis_the_body(handles, standin):
    before = posed(handles, standin)
    ankle = JOINT_NAMES.index("left_ankle")
    place = before.joints[ankle] + torch.tensor([0.05, 0.1, 0.2])
    handles.drag("left_ankle", place, before.joint_transforms[ankle, :3, :3])
    after = posed(handles, standin)
    torch.testing.assert_close(after.joints[ankle], place, atol=2e-3, rtol=0)
    torch.testing.assert_close(after.joints[0], before.joints[0], atol=1e-5, rtol=0)
    shift = torch.tensor([0.3, 0.0, -0.1])
    handles.drag("pelvis", after.joints[0] + shift, after.joint_transforms[0, :3, :3])
    torch.testing.assert_close(posed(handles, standin).joints, after.joints + shift, atol=1e-4, rtol=0)


def test_the_pelvis_turns_the_body_about_itself(handles, standin):
    before = posed(handles, standin)
    turn = axis_angle_to_matrix(torch.tensor([0.0, 0.0, 1.0])) @ before.joint_transforms[0, :3, :3]
    handles.drag("pelvis", before.joints[0], turn)
    after = posed(handles, standin)
    torch.testing.assert_close(after.joints[0], before.joints[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(after.joint_transforms[0, :3, :3], turn, atol=1e-5, rtol=0)
