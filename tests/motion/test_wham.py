"""WHAM's joblib files."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion import read_motion

joblib = pytest.importorskip("joblib")
WHERE = np.random.default_rng(5).normal(size=(6, 3))


def person(poses: np.ndarray, first: int = 0, **changes) -> dict:
    """What WHAM's demo stores of a person."""
    frames = len(poses)
    turned = poses.copy()
    turned[:, :3] += 0.3
    fields = dict(
        pose=turned.astype(np.float32),
        trans=(WHERE[:frames] + [0, 0, 4]).astype(np.float32),
        pose_world=poses.astype(np.float32),
        trans_world=WHERE[:frames].astype(np.float32),
        betas=np.tile(np.linspace(-1, 1, 10), (frames, 1)).astype(np.float32),
        verts=np.zeros((frames, 10, 3), np.float32),
        frame_ids=first + np.arange(frames),
    )
    return {**fields, **changes}


def write(tmp_path, persons: dict, **options):
    results = defaultdict(dict)
    results.update(persons)
    path = tmp_path / "wham_output.pkl"
    joblib.dump(results, path, **options)
    return path


@pytest.mark.parametrize("options", [{}, {"compress": 3}, {"compress": ("gzip", 3)}, {"protocol": 4}])
def test_the_world_motion_has_the_hips_where_wham_puts_them(tmp_path, lively_poses, smpl, vertices_of, options):
    poses = lively_poses(6)
    motion = read_motion(write(tmp_path, {0: person(poses)}, **options))
    assert (motion.format, motion.up, len(motion.sequence)) == ("WHAM", "y", 6)
    assert any("30 frames per second are assumed" in note for note in motion.notes)
    betas = np.linspace(-1, 1, 10)
    for frame in range(6):
        vertices, joints = smpl(poses[frame], betas=betas)
        # `get_output` in WHAM's SMPL: the vertices minus the middle of the hips, plus the translation.
        truth = vertices - joints[1:3].mean(0) + WHERE[frame]
        # Pelvis and hips of this shape differ a little from those of the mean shape, which the reader knows.
        np.testing.assert_allclose(vertices_of(motion.sequence, frame), truth, atol=0.03)


def test_with_the_mean_shape_the_hips_are_exact(tmp_path, lively_poses, smpl, vertices_of):
    poses = lively_poses(6)
    motion = read_motion(write(tmp_path, {0: person(poses, betas=np.zeros((6, 10)))}))
    for frame in range(6):
        vertices, joints = smpl(poses[frame])
        truth = vertices - joints[1:3].mean(0) + WHERE[frame]
        np.testing.assert_allclose(vertices_of(motion.sequence, frame), truth, atol=1e-5)


def test_without_a_world_the_camera_is_read_by_smpls_own_translation(tmp_path, lively_poses, smpl, vertices_of):
    fields = person(lively_poses(6), betas=np.zeros((6, 10)))
    camera = {name: value for name, value in fields.items() if "world" not in name}
    motion = read_motion(write(tmp_path, {0: camera}))
    assert motion.up == "-y"
    truth, _ = smpl(fields["pose"][2], fields["trans"][2])
    np.testing.assert_allclose(vertices_of(motion.sequence, 2), truth, atol=1e-5)


def test_the_longest_track_is_the_default_and_others_can_be_had(tmp_path, lively_poses):
    path = write(tmp_path, {3: person(lively_poses(4)), 7: person(lively_poses(6, 1), 20)})
    assert len(read_motion(path).sequence) == 6 and len(read_motion(path, 3).sequence) == 4
    with pytest.raises(DataError, match="no person 0"):
        read_motion(path, 0)


def test_frames_without_the_person_are_filled_in(tmp_path, lively_poses):
    poses = np.zeros((2, 72))
    poses[1, 5] = 0.8
    fields = person(poses, trans_world=np.array([[0, 0, 0], [4.0, 0, 0]]), frame_ids=np.array([10, 14]))
    motion = read_motion(write(tmp_path, {0: fields}))
    assert "3 of 5 frames without the person are filled in" in motion.notes
    np.testing.assert_allclose(motion.sequence.body_pose[:, 2], np.linspace(0, 0.8, 5), atol=1e-6)
    ways = (motion.sequence.transl - motion.sequence.transl[0])[:, 0]
    np.testing.assert_allclose(ways, np.arange(5), atol=1e-6)


def test_fields_that_do_not_fit_are_named(tmp_path, lively_poses):
    with pytest.raises(DataError, match="`frame_ids` of 5 frames"):
        read_motion(write(tmp_path, {0: person(lively_poses(6), frame_ids=np.arange(5))}))
