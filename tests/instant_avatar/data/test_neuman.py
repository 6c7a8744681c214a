"""NeuMan's files, written from cameras and poses that are known, against the projection of the same body."""

import pickle

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from snapshot_folders import CENTRE, FOCAL, FRAMES, SIZE, picture, poses

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data.people_snapshot import PeopleSnapshotDataParserConfig, read_scene

SCALE = 2.7
"""Of COLMAP's world over metres, in the first frame; it grows a little from frame to frame."""


def _cameras():
    """World -> camera, COLMAP's scale: the phone moves a little and turns."""
    for frame in range(FRAMES):
        extrinsic = np.eye(4)
        extrinsic[:3, :3] = Rotation.from_rotvec([0.02 * frame, -0.03 * frame, 0.3]).as_matrix()
        extrinsic[:3, 3] = [0.1 * frame, 0.2, 0.05 * frame]
        yield extrinsic


def write_neuman(folder):
    """The person of `snapshot_folders`, seen as there by every camera."""
    for name in ("images", "segmentations", "sparse"):
        (folder / name).mkdir(parents=True)
    pose, transl = poses()
    alignments, lines = {}, []
    for frame, extrinsic in enumerate(_cameras()):
        image, mask = picture(frame)
        cv2.imwrite(str(folder / "images" / f"{frame:05d}.png"), image)
        cv2.imwrite(str(folder / "segmentations" / f"{frame:05d}.png"), 255 - mask * 255)
        scale, turn = SCALE * (1 + 0.01 * frame), extrinsic[:3, :3].T
        # In the camera, metres: x + transl. In COLMAP's world: turn (scale (x + transl) - away).
        matrix, shift = scale * turn, turn @ (scale * transl[frame] - extrinsic[:3, 3])
        alignments[f"{frame:05d}.png"] = np.concatenate([matrix.T, shift[None]])
        x, y, z, w = Rotation.from_matrix(extrinsic[:3, :3]).as_quat()
        words = [frame + 1, w, x, y, z, *extrinsic[:3, 3], 1, f"{frame:05d}.png"]
        lines += [" ".join(map(str, words)), "1.0 2.0 -1"]
    (folder / "sparse" / "images.txt").write_text("# Image list\n" + "\n".join(lines) + "\n")
    centre = f"{CENTRE[0] + 0.5} {CENTRE[1] + 0.5}"
    (folder / "sparse" / "cameras.txt").write_text(f"# Camera list\n1 PINHOLE {SIZE} {SIZE} {FOCAL} {FOCAL} {centre}\n")
    np.save(folder / "alignments.npy", alignments, allow_pickle=True)
    output = {1: {"pose": list(pose), "betas": [np.zeros(10)] * FRAMES}}
    (folder / "smpl_output_optimized.pkl").write_bytes(pickle.dumps(output))
    for name, frames in (("train", (0, 1, 3, 4, 5)), ("val", (2,)), ("test", (6, 7))):
        (folder / f"{name}_split.txt").write_text("\n".join(f"{frame:05d}.png" for frame in frames))
    return folder


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
