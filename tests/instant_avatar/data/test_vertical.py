"""The vertical against worlds that were tilted on purpose."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from snapshot_folders import FRAMES, write_preprocessed

from nerfstudio_avatars.instant_avatar.data.people_snapshot import PeopleSnapshotDataParserConfig
from nerfstudio_avatars.instant_avatar.data.vertical import plumb_line

STANDS = Rotation.from_matrix([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
"""SMPL's axes (y up, facing z) in a world with z up."""


def turning(*, tilt=(0.0, 0.0), lean=0.0, turn=360.0, sway=0.0, frames=60):
    """Upward axis and facing of a person who leans forward and turns, in a world tilted about x and y (degrees)."""
    about = Rotation.from_rotvec(np.linspace((0, 0, 0), (0, 0, turn), frames, endpoint=False), degrees=True)
    swaying = Rotation.from_rotvec(np.random.default_rng(0).normal(0, math.radians(sway), (frames, 3)))
    leaning = Rotation.from_euler("x", lean, degrees=True)
    roots = (Rotation.from_euler("xy", tilt, degrees=True) * about * STANDS * leaning * swaying).as_matrix()
    return torch.from_numpy(roots[..., 1]), torch.from_numpy(roots[..., 2])


def degrees_from(line, tilt):
    truth = Rotation.from_euler("xy", tilt, degrees=True).apply([0, 0, 1])
    return math.degrees(math.acos(min(1.0, float(line @ torch.from_numpy(truth)))))


@pytest.mark.parametrize("lean", [0.0, 10.0, -5.0])
@pytest.mark.parametrize("turn", [360.0, 250.0])
@pytest.mark.parametrize("tilt", [(8.0, 0.0), (-6.0, 4.0), (0.0, 15.0)])
def test_a_tilted_world_is_told_from_a_leaning_person(tilt, turn, lean):
    line = plumb_line(*turning(tilt=tilt, turn=turn, lean=lean))
    assert line.norm() == pytest.approx(1, abs=1e-6)
    assert degrees_from(line, tilt) < 0.35  # second order in both angles


def test_errors_of_poses_average_out():
    assert degrees_from(plumb_line(*turning(tilt=(8, 3), lean=5, sway=4)), (8, 3)) < 1.5


@pytest.mark.parametrize(
    "axes",
    [
        turning(tilt=(10, 0), turn=90),
        turning(tilt=(10, 0), turn=0),
        turning(tilt=(1.5, 0)),
        turning(lean=80),
        turning(sway=40),
    ],
    ids=["quarter turn", "no turn", "sway", "bent", "tumbling"],
)
def test_where_nothing_can_be_told_the_camera_is_level(axes):
    torch.testing.assert_close(plumb_line(*axes), torch.tensor([0.0, 0.0, 1.0]).double())


def test_a_camera_that_looks_down_sees_an_upright_person(tmp_path):
    """The whole scene turns: the person stands, the cameras look down, and both still fit each other."""
    folder = write_preprocessed(tmp_path / "one")
    pitch = 12.0
    # OpenCV's y points down: the person is turned by pi about x, about their own vertical, and the camera looks down.
    about = Rotation.from_rotvec(np.linspace((0, 0, 0), (0, 360, 0), FRAMES, endpoint=False), degrees=True)
    roots = Rotation.from_euler("x", pitch, degrees=True) * Rotation.from_euler("x", 180, degrees=True) * about
    transl = np.tile(np.float32([0.1, 0.3, 3.0]), (FRAMES, 1))
    np.savez(
        folder / "poses.npz",
        betas=np.zeros((1, 10), np.float32),
        global_orient=roots.as_rotvec().astype(np.float32),
        body_pose=np.zeros((FRAMES, 69), np.float32),
        transl=transl,
    )
    config = PeopleSnapshotDataParserConfig(data=folder, downscale_factor=1, body="standin")
    outputs = config.setup().get_dataparser_outputs("train")
    body, motion = outputs.metadata["person"].body, outputs.metadata["person"].motion
    spine = torch.stack([(j := body.pose(motion.state(frame)).joints)[15] - j[0] for frame in range(FRAMES)])
    rest = (j := body.rest(motion.betas)[1])[15] - j[0]
    torch.testing.assert_close(spine[:, 2], rest[1].expand(FRAMES), atol=1e-3, rtol=0)
    downwards = outputs.cameras.camera_to_worlds[:, 2, 2].asin().rad2deg()
    torch.testing.assert_close(downwards, torch.full_like(downwards, pitch), atol=0.05, rtol=0)
    # Seen from the camera, every joint is where the files say.
    pelvis = torch.cat([motion.pelvis(body.rest(motion.betas)[1][0]), torch.ones(FRAMES, 1)], -1)
    to_world = torch.eye(4).repeat(len(outputs.cameras), 1, 1)
    to_world[:, :3] = outputs.cameras.camera_to_worlds
    seen = (torch.linalg.inv(to_world) @ pelvis[list(outputs.metadata["pictures"].frames), :, None])[:, :3, 0]
    wanted = torch.from_numpy(transl[0]) + body.rest(motion.betas)[1][0]
    torch.testing.assert_close(seen, (wanted * torch.tensor([1.0, -1, -1])).expand_as(seen), atol=1e-4, rtol=0)
