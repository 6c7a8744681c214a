"""Which motion a person performs, and that it stands upright."""

import math

import pytest
import torch

from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.cli.motion import choose_motion, up_axis
from nerfstudio_avatars.data.body_sequence import BodySequence
from nerfstudio_avatars.data.errors import DataError
from nerfstudio_avatars.data.motion import shipped_motions

QUARTER = math.pi / 2
FROM_Y_UP = {
    "z": torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]),
    "-y": torch.tensor([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]]),
}


@pytest.fixture(scope="module")
def body():
    return load_standin()


@pytest.fixture(scope="module")
def subject():
    return BodySequence(
        betas=torch.linspace(-1, 1, 10),
        global_orient=torch.tensor([[QUARTER, 0.0, 0.0]]).repeat(7, 1),
        body_pose=torch.zeros(7, 69),
        transl=torch.zeros(7, 3),
    )


@pytest.mark.parametrize(("up", "upright"), [("y", 0.0), ("z", QUARTER), ("-y", math.pi)])
def test_the_up_axis_is_found_from_the_torso(up, upright):
    """Upright turns of a body, as each kind of file writes them."""
    assert up_axis(torch.tensor([[upright, 0.0, 0.0]]).repeat(9, 1) + 0.1 * torch.randn(9, 3)) == up


@pytest.mark.parametrize("name", ["walk", "run", "dance_a", "cartwheel", "spinkick", "crawl"])
def test_shipped_motions_are_upright_and_have_the_persons_shape(name, subject, body):
    motion = choose_motion(name, subject, body)
    joints = torch.stack([body.pose(motion.state(frame)).joints for frame in range(len(motion))])
    assert joints[:, 0].median(dim=0).values.abs().max() < 1e-4
    if name in ("walk", "run"):
        assert (joints[:, 15, 2] - joints[:, [10, 11], 2].amin(dim=1) > 1.2).all()
    torch.testing.assert_close(motion.betas, subject.betas)


def test_walk_faces_the_camera_at_azimuth_zero(subject, body):
    """The camera stands at +y; toes lie before ankles."""
    joints = body.pose(choose_motion("walk", subject, body).state(0)).joints
    assert (joints[[10, 11], 1] > joints[[7, 8], 1]).all()


@pytest.mark.parametrize("up", FROM_Y_UP)
def test_a_file_with_other_axes_gives_the_same_motion(up, subject, body, tmp_path):
    stored = BodySequence.load(shipped_motions()["walk"])
    pelvis = body.rest(stored.betas)[1][0]
    stored.in_frame(FROM_Y_UP[up], torch.tensor([0.3, 0.2, 0.1]), pelvis).save(tmp_path / "motion.npz")
    motion, expected = (choose_motion(name, subject, body) for name in (str(tmp_path / "motion.npz"), "walk"))
    for frame in (0, 10, 30):
        torch.testing.assert_close(
            body.pose(motion.state(frame)).joints, body.pose(expected.state(frame)).joints, atol=2e-3, rtol=0
        )


def test_the_persons_own_poses_and_the_held_first_one(subject, body):
    assert choose_motion("training", subject, body) is subject
    assert len(choose_motion("still", subject, body)) == 1


def test_an_unknown_motion_is_told_with_what_there_is(subject, body):
    with pytest.raises(DataError, match="walk"):
        choose_motion("moonwalk", subject, body)
