"""NeuMan's files, written from cameras and poses that are known, against the projection of the same body."""

import numpy as np
import pytest
import torch
from neuman_folders import write_neuman
from snapshot_folders import CENTRE, FOCAL, FRAMES, picture, poses

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data.people_snapshot import PeopleSnapshotDataParserConfig, read_scene


@pytest.fixture
def scene(tmp_path):
    return read_scene(PeopleSnapshotDataParserConfig(data=write_neuman(tmp_path / "bike"), body="standin"))


def test_bodies_are_seen_where_neuman_has_them(scene):
    recording, body = scene.recording, load_standin()
    pose, transl = poses()
    for frame in range(FRAMES):
        state = BodyState(torch.zeros(10), *(torch.from_numpy(part) for part in (pose[frame, :3], pose[frame, 3:])),
                          torch.from_numpy(transl[frame]))  # fmt: skip
        joints = body.pose(state).joints.double().numpy()
        expected = FOCAL * joints[:, :2] / joints[:, 2:] + CENTRE
        found = body.pose(recording.motion.state(frame)).joints.double().numpy()
        seen = found @ recording.extrinsics[frame, :3, :3].T + recording.extrinsics[frame, :3, 3]
        projected = seen @ recording.intrinsics[frame].T
        np.testing.assert_allclose(projected[:, :2] / projected[:, 2:], expected, atol=0.01)
        # Metres: the person keeps their size.
        np.testing.assert_allclose(seen, joints, atol=1e-3)


def test_masks_whose_white_is_the_background_are_inverted_back(scene):
    masks = list(scene.recording.masks([0, 3]))
    np.testing.assert_array_equal(masks, [picture(0)[1] * 255, picture(3)[1] * 255])
    assert any("inverted back" in note for note in scene.recording.notes)


def test_the_published_splits_are_used(scene):
    assert scene.recording.splits == {"train": [0, 1, 3, 4, 5], "val": [2], "test": [6, 7]}


def _text(name, content):
    return lambda folder: (folder / name).write_text(content)


MISTAKES = {
    "no cameras": (lambda f: (f / "sparse" / "cameras.txt").unlink(), "cameras.txt"),
    "a lens that distorts": (_text("sparse/cameras.txt", "1 OPENCV 48 48 60 60 24 25 0 0 0 0"), "image_undistorter"),
    "a broken line": (_text("sparse/images.txt", "1 a b c d e f g 1 00000.png\n\n"), "images.txt"),
    "no poses": (lambda f: (f / "smpl_output_optimized.pkl").unlink(), "smpl_output_optimized"),
    "a picture missing": (lambda f: (f / "images" / "00003.png").unlink(), "00003.png|segmentations"),
    "alignments that are noise": (lambda f: (f / "alignments.npy").write_bytes(b"\x93NUMPY\1\0"), "alignments"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_scene_is_named(tmp_path, name):
    folder = write_neuman(tmp_path / "bike")
    spoil, told = MISTAKES[name]
    spoil(folder)
    with pytest.raises(DataError, match=told):
        read_scene(PeopleSnapshotDataParserConfig(data=folder, body="standin"))
