"""The body tells which axis points up, whatever it does and whatever the fields are called."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.motion import load_motion, read_motion, shipped_motions
from nerfstudio_avatars.motion.npz import read_npz
from nerfstudio_avatars.motion.up_axis import find_up

TO = {
    "y": Rotation.identity(),
    "z": Rotation.from_euler("x", 90, degrees=True),
    "-y": Rotation.from_euler("x", 180, degrees=True),
}
"""From the shipped motions' y-up world."""
UPRIGHT = ("walk", "run", "dance_a", "spinkick")
TUMBLING = ("cartwheel", "crawl")


def turned(standin, name: str, up: str, heading: float) -> BodySequence:
    """A shipped motion in a world of another upward axis, walking another way."""
    sequence = read_npz(shipped_motions()[name])
    turn = TO[up] * Rotation.from_euler("y", heading, degrees=True)
    pelvis = standin.rest(sequence.betas)[1][0]
    return sequence.in_frame(torch.from_numpy(turn.as_matrix()).float(), torch.tensor([0.3, -0.2, 4.0]), pelvis)


@pytest.mark.parametrize("heading", [0, 40, 90, 180, 270])
@pytest.mark.parametrize("up", TO)
@pytest.mark.parametrize("name", [*UPRIGHT, *TUMBLING])
def test_whatever_the_body_does_its_axis_is_found_among_all(standin, name, up, heading):
    sequence = turned(standin, name, up, heading)
    for given in TO:
        assert find_up(sequence, given, sure=False)[0] == up, given


@pytest.mark.parametrize("heading", [0, 90, 180, 270])
@pytest.mark.parametrize("name", UPRIGHT)
def test_who_stays_in_place_is_found_too(standin, name, heading):
    for up in TO:
        sequence = turned(standin, name, up, heading)
        sequence = BodySequence(
            sequence.betas, sequence.global_orient, sequence.body_pose, torch.zeros_like(sequence.transl), sequence.fps
        )
        assert find_up(sequence, "y", sure=False)[0] == up


@pytest.mark.parametrize("up", TO)
@pytest.mark.parametrize(
    "keys", [{}, {"mocap_framerate": 30.0}, {"mocap_frame_rate": 30, "surface_model_type": "smplx"}]
)
def test_field_names_of_amass_only_break_ties(standin, tmp_path, keys, up):
    """GVHMR's and WHAM's results are saved with AMASS's names, y up or in the camera."""
    walk = turned(standin, "walk", up, 30)
    poses = torch.cat([walk.global_orient, walk.body_pose[:, :63], torch.zeros(len(walk), 90)], 1).numpy()
    np.savez(tmp_path / "a.npz", poses=poses, trans=walk.transl.numpy(), gender=b"male", **keys)
    motion = read_motion(tmp_path / "a.npz")
    assert (motion.up, motion.up_from) == (up, "body")
    assert sum(f"up axis {up}" in note for note in motion.notes) == 1
    world = load_motion(tmp_path / "a.npz")
    joints = standin.pose(world.state(10)).joints
    assert joints[15, 2] - joints[[7, 8], 2].max() > 1.0
    given = load_motion(tmp_path / "a.npz", up="z" if up == "y" else "y")
    assert abs(standin.pose(given.state(10)).joints[:, 2].max() - joints[:, 2].max()) > 0.2, "--up overrides"


@pytest.mark.parametrize("given", TO)
def test_a_lying_body_says_nothing_and_the_format_is_believed(given):
    """On its side, in a heap of frames that do not move: no axis is the one along which it stands."""
    side = {"y": (0, 0, np.pi / 2), "z": (0, 0, np.pi / 2), "-y": (0, 0, -np.pi / 2)}[given]
    lying = BodySequence(
        torch.zeros(10), torch.tensor(side).float().repeat(20, 1), 0.05 * torch.randn(20, 69), torch.zeros(20, 3)
    )
    assert find_up(lying, given, sure=False)[:2] == (given, "format")


def test_a_tools_own_frame_is_left_only_for_a_body_on_its_head(standin):
    lying = BodySequence(
        torch.zeros(10), torch.tensor([[np.pi / 2, 0, 0]]).float().repeat(9, 1), torch.zeros(9, 69), torch.zeros(9, 3)
    )
    assert find_up(lying, "y", sure=True)[0] == "y" and find_up(lying, "y", sure=False)[0] == "z"
    assert find_up(turned(standin, "walk", "-y", 0), "y", sure=True)[0] == "-y"
