"""A motion made ready for a scene."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.motion import load_motion
from nerfstudio_avatars.motion.staging import stage_motion


@pytest.fixture
def walk(standin) -> BodySequence:
    """The shipped walk by a person who is not average, away from the origin."""
    betas = torch.linspace(-1, 1, 10)
    motion = load_motion("walk", standin.rest(betas)[1][0])
    return replace(motion, betas=betas, transl=motion.transl + torch.tensor([3.0, -2.0, 0.7]))


def lowest(standin, motion: BodySequence) -> torch.Tensor:
    return torch.stack([standin.pose(motion.state(frame)).vertices[:, 2].min() for frame in range(len(motion))])


def assert_same(ours: BodySequence, truth: BodySequence, atol: float = 1e-5) -> None:
    for name in ("global_orient", "body_pose"):
        matrices = [axis_angle_to_matrix(getattr(motion, name).unflatten(1, (-1, 3))) for motion in (ours, truth)]
        torch.testing.assert_close(*matrices, atol=atol, rtol=0)
    torch.testing.assert_close(ours.transl, truth.transl, atol=atol, rtol=0)


def test_nothing_changes_by_default(standin, walk):
    assert stage_motion(walk, standin) is walk


def test_in_place_keeps_the_pelvis_above_the_origin_at_its_heights(standin, walk):
    staged = stage_motion(walk, standin, root="in_place")
    for frame in range(0, len(walk), 5):
        before, after = (standin.pose(motion.state(frame)) for motion in (walk, staged))
        pelvis = after.joints[0]
        torch.testing.assert_close(pelvis[:2], torch.zeros(2), atol=1e-5, rtol=0)
        assert pelvis[2] == pytest.approx(before.joints[0, 2].item(), abs=1e-5)
        shift = after.vertices - before.vertices
        torch.testing.assert_close(shift, shift[:1].expand_as(shift), atol=1e-5, rtol=0)


def test_on_ground_the_lowest_point_of_the_clip_is_at_zero(standin, walk):
    staged = stage_motion(walk, standin, root="on_ground")
    before = lowest(standin, walk)
    torch.testing.assert_close(lowest(standin, staged), before - before.min(), atol=1e-5, rtol=0)
    torch.testing.assert_close(staged.transl[:, :2], walk.transl[:, :2])


def test_a_loop_closes_and_is_smooth(standin, walk):
    # Half a cycle ends on the other foot.
    still = stage_motion(walk[:26], standin, root="in_place")
    staged = stage_motion(walk[:26], standin, root="in_place", loop_frames=8)
    assert len(staged) == 18
    assert_same(staged[len(staged) - 1 :], staged[0:1])
    # Up to the cross-fade it is the clip itself, and the fade starts where the clip is.
    assert_same(staged[: len(staged) - 8], still[8 : len(still) - 8])

    def steps(motion: BodySequence) -> torch.Tensor:
        joints = torch.stack([standin.pose(motion.state(frame)).joints for frame in range(len(motion))])
        return (joints[1:] - joints[:-1]).norm(dim=-1).amax(dim=-1)

    jump = (standin.pose(still.state(len(still) - 1)).joints - standin.pose(still.state(0)).joints).norm(dim=-1).max()
    assert jump > 0.5 and steps(staged).max() < 0.25 * jump


def test_the_shortest_clip_can_loop_and_a_shorter_one_is_refused(standin, walk):
    assert len(stage_motion(walk[:7], standin, loop_frames=3)) == 4
    with pytest.raises(ValueError, match="needs a clip of 7: 6"):
        stage_motion(walk[:6], standin, loop_frames=3)


@pytest.mark.parametrize("name", ["walk", "cartwheel"])
def test_the_blend_leads_from_upright_rest_into_the_clip(standin, name):
    motion = load_motion(name)
    staged = stage_motion(motion, standin, blend_frames=10)
    assert len(staged) == len(motion) + 10
    assert_same(staged[10:], motion)
    rest, first = (standin.pose(each.state(0)) for each in (staged, motion))
    joints = dict(zip(standin.joint_names, rest.joints, strict=True))
    assert not staged.body_pose[0].any() and joints["head"][2] > joints["pelvis"][2] + 0.5
    assert rest.vertices[:, 2].min().item() == pytest.approx(first.vertices[:, 2].min().item(), abs=1e-4)
    torch.testing.assert_close(rest.joints[0, :2], first.joints[0, :2], atol=1e-4, rtol=0)
    ways = [(standin.pose(staged.state(frame)).joints - first.joints).norm(dim=-1).mean() for frame in range(11)]
    assert all(later < earlier for earlier, later in zip(ways, ways[1:], strict=False)) and ways[10] < 1e-4


@pytest.mark.parametrize("degrees", [-135, 0, 90, 170])
def test_the_rest_pose_faces_where_the_first_frame_does(standin, walk, degrees):
    turn = torch.deg2rad(torch.tensor([0.0, 0.0, float(degrees)]))
    turned = walk.in_frame(axis_angle_to_matrix(turn), torch.zeros(3), standin.rest(walk.betas)[1][0])
    rest, first = (stage_motion(turned, standin, blend_frames=1)[frame] for frame in (0, 1))
    ahead = [axis_angle_to_matrix(each.global_orient)[:2, 2] for each in (rest, first)]
    torch.testing.assert_close(ahead[0], ahead[1] / ahead[1].norm(), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("sign", "ahead"), [(1.0, [0.0, -1.0]), (-1.0, [0.0, 1.0])])
def test_who_lies_gets_up_towards_the_feet_from_the_back_and_towards_the_head_from_the_belly(
    standin, walk, sign, ahead
):
    """Head towards +y: rest's up axis along y, its front up (on the back) or down."""
    orient = torch.tensor([0.0, 0.0, 0.0]) if sign > 0 else torch.tensor([0.0, torch.pi, 0.0])
    lying = replace(walk[0:1], global_orient=orient[None], body_pose=torch.zeros(1, 69))
    rest = stage_motion(lying, standin, blend_frames=2)[0]
    front = axis_angle_to_matrix(rest.global_orient)[:, 2]
    torch.testing.assert_close(front, torch.tensor([*ahead, 0.0]), atol=1e-5, rtol=0)


def test_frames_are_counted_at_the_new_rate(standin, walk):
    staged = stage_motion(walk, standin, fps=2 * walk.fps, loop_frames=4, blend_frames=6)
    assert staged.fps == 2 * walk.fps and len(staged) == 2 * (len(walk) - 1) + 1 - 4 + 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(root="floating"), "root is 'floating'"),
        (dict(fps=0.0), "fps is 0"),
        (dict(loop_frames=-1), "cross-fade over -1"),
        (dict(blend_frames=-2), "blend over -2"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_impossible_options_are_named(standin, walk, options, message):
    with pytest.raises(ValueError, match=message):
        stage_motion(walk, standin, **options)
