"""The dataparser against OpenCV, against the paper's table, and against what users get wrong."""

import copy
import json
import os
import pickle
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch
from snapshot_folders import CENTRE, FOCAL, FRAMES, SIZE, picture, poses, write_preprocessed, write_raw, write_video

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data import people_snapshot, person_scene
from nerfstudio_avatars.instant_avatar.data.people_snapshot import PeopleSnapshotDataParserConfig
from nerfstudio_avatars.instant_avatar.data.snapshot_splits import parse_range, published_split


def parse(folder, split="train", **options):
    config = PeopleSnapshotDataParserConfig(data=folder, **({"downscale_factor": 1, "body": "standin"} | options))
    return config.setup().get_dataparser_outputs(split)


def pictures(outputs):
    return outputs.metadata["pictures"].load()


def _pixels_of_joints(outputs, image):
    """nerfstudio's own rays: the pixel whose ray meets a joint, found by inverting the ray map of two pixels."""
    frame, camera = int(outputs.metadata["pictures"].frames[image]), outputs.cameras[image]
    joints = outputs.metadata["person"].body.pose(outputs.metadata["person"].motion.state(frame)).joints
    coords = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    rays = outputs.cameras.generate_rays(torch.full((3, 1), image), coords=coords)
    slopes = rays.directions * rays.metadata["directions_norm"]
    basis = torch.stack([slopes[1] - slopes[0], slopes[2] - slopes[0], slopes[0]], -1)
    weights = torch.linalg.solve(basis, (joints - camera.camera_to_worlds[:, 3]).T).T
    return weights[:, :2] / weights[:, 2:]


@pytest.mark.parametrize("downscale", [1, 2])
@pytest.mark.parametrize("turned", [False, True])
def test_joints_lie_where_opencv_projects_them(tmp_path, downscale, turned, monkeypatch):
    # Turned, the masks are not of this camera.
    monkeypatch.setattr(person_scene, "checked", lambda recording, *_: recording)
    extrinsic = np.eye(4)
    if turned:
        extrinsic[:3, :3], extrinsic[:3, 3] = cv2.Rodrigues(np.array([0.3, -0.4, 0.2]))[0], (0.2, -0.1, 0.5)
    outputs = parse(write_preprocessed(tmp_path / "one", extrinsic), downscale_factor=downscale)
    pose, transl = map(torch.from_numpy, poses())
    intrinsic = np.array([[FOCAL, 0, CENTRE[0]], [0, FOCAL, CENTRE[1]], [0, 0, 1]])
    for image in (0, 3):
        frame = int(outputs.metadata["pictures"].frames[image])
        state = BodyState(torch.zeros(10), pose[frame, :3], pose[frame, 3:], transl[frame])
        joints = outputs.metadata["person"].body.pose(state).joints.double().numpy()
        rotation = cv2.Rodrigues(extrinsic[:3, :3])[0]
        expected = cv2.projectPoints(joints, rotation, extrinsic[:3, 3], intrinsic, None)[0][:, 0]
        found = _pixels_of_joints(outputs, image)
        # OpenCV counts pixels from their centres, nerfstudio from their corners.
        np.testing.assert_allclose(found * downscale - 0.5, expected, atol=0.05)


def test_person_stands_upright_at_the_origin(tmp_path):
    outputs = parse(write_raw(tmp_path / "one"))
    body, motion = outputs.metadata["person"].body, outputs.metadata["person"].motion
    joints = torch.stack([body.pose(motion.state(frame)).joints for frame in range(FRAMES)])
    torch.testing.assert_close(joints[:, 0].median(0).values, torch.zeros(3), atol=1e-4, rtol=0)
    assert (joints[:, 15, 2] - joints[:, 0, 2] > 0.3).all()
    assert outputs.cameras.camera_to_worlds.dtype == outputs.cameras.fx.dtype == torch.float32
    assert (outputs.scene_box.aabb[0] < joints.amin((0, 1))).all()


def test_raw_and_preprocessed_layouts_agree(tmp_path):
    raw, files = parse(write_raw(tmp_path / "a")), parse(write_preprocessed(tmp_path / "b"))
    torch.testing.assert_close(raw.cameras.camera_to_worlds, files.cameras.camera_to_worlds)
    torch.testing.assert_close(raw.metadata["person"].motion.transl, files.metadata["person"].motion.transl)
    a, b = pictures(raw), pictures(files)
    assert torch.equal(a[..., 3], b[..., 3])
    assert (a[:, 16:32, 20:28, :3].float() - b[:, 16:32, 20:28, :3].float()).abs().mean() < 8


def test_frames_are_counted_over_all_splits(tmp_path):
    outputs = parse(write_raw(tmp_path / "one"), "test")
    assert outputs.metadata["pictures"].frames == (3, 7)
    assert outputs.metadata["person"].train_frames.tolist() == [0, 1, 2, 4, 5, 6]
    assert outputs.metadata["person"].video_frames == range(7)
    torch.testing.assert_close(outputs.cameras.times[:, 0], torch.tensor([3 / 6, 1.0]))
    assert outputs.cameras.metadata["frame"].tolist() == [[3], [7]]
    assert len(set(outputs.image_filenames)) == 2
    assert os.path.commonpath(outputs.image_filenames) == str(tmp_path / "one" / "one")


@pytest.mark.parametrize(
    ("subject", "train", "test"),
    [
        ("male-3-casual", 114, 55),
        ("male-4-casual", 110, 36),
        ("female-3-casual", 112, 51),
        ("female-4-casual", 84, 48),
    ],
)
def test_published_splits_have_the_published_sizes(subject, train, test):
    splits = published_split(subject)
    assert (len(splits["train"]), len(splits["test"]), len(splits["val"])) == (train, test, 1)


def test_ranges_include_their_end():
    assert parse_range("2:8:3", "--train") == [2, 5, 8]
    assert parse_range("4", "--val") == [4]
    with pytest.raises(DataError, match="--train"):
        parse_range("8:2", "--train")


def test_reference_half_pixel_rays_are_the_originals(tmp_path):
    outputs = parse(write_preprocessed(tmp_path / "one"), downscale_factor=2, half_pixel="reference")
    rays = outputs.cameras.generate_rays(torch.zeros((1, 1), dtype=torch.long), coords=torch.tensor([[5.5, 9.5]]))
    local = outputs.cameras[0].camera_to_worlds[:, :3].T @ rays.directions[0]
    x, y = (9 - CENTRE[0] / 2) / (FOCAL / 2), (5 - CENTRE[1] / 2) / (FOCAL / 2)
    torch.testing.assert_close(local / -local[2], torch.tensor([x, -y, -1.0]))


@pytest.mark.parametrize("factor", [1, 2])
def test_background_does_not_bleed_into_the_person(tmp_path, factor):
    folder = write_raw(tmp_path / "one")
    # A mask one pixel too large, as segmentation networks make them.
    masks = np.stack([cv2.dilate(picture(frame)[1], np.ones((3, 3), np.uint8)) for frame in range(FRAMES)])
    _replace(folder, "masks.hdf5", masks=masks.astype(np.int8))
    blue = {}
    for clean in (True, False):
        shown = pictures(parse(folder, decontaminate_edges=clean, downscale_factor=factor))
        blue[clean] = shown[..., 2][shown[..., 3] > 0].max()
    assert blue[True] < 60 < 150 < blue[False]


def test_undistortion_equals_opencv(tmp_path):
    k = (0.2, -0.1, 0.0, 0.0, 0.0)
    outputs = parse(write_raw(tmp_path / "one", distortion=k))
    intrinsic = np.array([[FOCAL, 0, CENTRE[0]], [0, FOCAL, CENTRE[1]], [0, 0, 1]])
    expected = cv2.undistort(picture(0)[1] * 255, intrinsic, np.array(k))
    assert np.array_equal(pictures(outputs)[0, ..., 3], expected)


def _novel_poses(folder):
    (folder / "novel_poses" / "images").mkdir(parents=True)
    pose, transl = poses(2)
    np.savez(folder / "novel_poses" / "poses.npz", betas=np.zeros(10, np.float32), thetas=pose, transl=transl)
    intrinsic, extrinsic = np.diag([FOCAL, FOCAL, 1.0]), np.eye(4)
    intrinsic[:2, 2] = CENTRE
    cameras = {"intrinsic": np.stack([intrinsic] * 2), "extrinsic": np.stack([extrinsic] * 2)}
    np.savez(folder / "novel_poses" / "cameras.npz", **cameras)
    for frame in range(2):
        cv2.imwrite(str(folder / "novel_poses" / "images" / f"image_{frame:04d}.png"), _rgba(50 + frame))


def _rgba(value):
    return np.full((SIZE, SIZE, 4), (value, 20, 30, 128), np.uint8)


def test_extras_of_the_drawn_sequence(tmp_path):
    folder = write_raw(tmp_path / "drawn")
    splits = {"train": [0, 2, 4], "val": [1], "test": [1, 3], "gender": "neutral", "body": "standin"}
    (folder / "splits.json").write_text(json.dumps(splits))
    (folder / "ground_truth").mkdir()
    cv2.imwrite(str(folder / "ground_truth" / "image_0003.png"), _rgba(77))
    with h5py.File(folder / "masks.hdf5", "a") as file:
        file["soft_masks"] = np.full((FRAMES, SIZE, SIZE), 200, np.uint8)
    _novel_poses(folder)
    outputs = parse(folder, "test", body="auto")
    assert outputs.metadata["pictures"].groups == ("novel_view",) * 2 + ("novel_pose",) * 2
    assert outputs.metadata["pictures"].frames == (1, 3, 8, 9)
    assert len(outputs.metadata["person"].motion) == 10
    shown = pictures(outputs)
    assert (shown[0, ..., 3] == 200).all()
    assert shown[1, 5, 5].tolist() == [30, 20, 77, 128] and shown[3, 5, 5].tolist() == [30, 20, 51, 128]


@pytest.mark.parametrize(
    ("options", "groups"),
    [
        ({}, ["novel_view", "novel_view"]),
        ({"holdout_every": 0}, ["training_view"]),
        ({"holdout_every": 100}, ["training_view"]),
        ({"train": "0:4", "val": "4", "test": "3:6"}, ["training_view", "training_view", "novel_view", "novel_view"]),
    ],
)
def test_frames_that_are_learned_are_not_called_novel(tmp_path, options, groups):
    assert parse(write_preprocessed(tmp_path / "one"), "test", **options).metadata["pictures"].groups == tuple(groups)


def test_ones_own_pictures_shrink_to_the_persons_height_and_published_ones_as_in_the_paper(tmp_path, monkeypatch):
    """The person is 32 of 48 pixels tall."""

    def side(folder, **options):
        return int(parse(folder, downscale_factor=None, **options).cameras.height[0])

    own = write_preprocessed(tmp_path / "one")
    assert side(own) == SIZE
    monkeypatch.setattr(people_snapshot, "PERSON_HEIGHT", 24)
    assert side(own) == SIZE * 24 // 32
    assert side(write_raw(tmp_path / "raw")) == SIZE // 2
    published = write_preprocessed(tmp_path / "male-3-casual")
    assert side(published, train="0:3:1", val="4:4:1", test="5:7:1") == SIZE // 2


def test_split_pose_files_take_precedence(tmp_path):
    folder = write_preprocessed(tmp_path / "one")
    (folder / "poses").mkdir()
    pose, transl = poses(3)
    fields = {"global_orient": pose[:, :3], "body_pose": pose[:, 3:], "transl": transl + 0.02}
    np.savez(folder / "poses" / "anim_nerf_train.npz", betas=np.full((1, 10), 0.5, np.float32), **fields)
    one = {name: value[:1] for name, value in fields.items()}
    np.savez(folder / "poses" / "anim_nerf_test.npz", betas=np.full((1, 10), 0.7, np.float32), **one)
    options = {"train": "0:4:2", "val": "5", "test": "6"}
    outputs = parse(folder, **options)
    motion = outputs.metadata["person"].motion
    assert (motion.betas == 0.5).all() and len(motion) == FRAMES
    torch.testing.assert_close(motion.transl[1], (motion.transl[0] + motion.transl[2]) / 2)


def test_pictures_are_read_once_and_copies_share_them(tmp_path):
    outputs = parse(write_raw(tmp_path / "one"))
    source = copy.deepcopy(outputs.metadata)["pictures"].source
    assert source is outputs.metadata["pictures"].source and pictures(outputs) is pictures(outputs)


# What users get wrong --------------------------------------------------------------------------------------------


def _replace(folder, name, **fields):
    (folder / name).unlink()
    with h5py.File(folder / name, "w") as file:
        file.update(fields)


def _nan_poses(folder):
    pose, transl = poses()
    pose[3, 5] = np.nan
    _replace(folder, "reconstructed_poses.hdf5", pose=pose, trans=transl, betas=np.zeros(10))


def _poses(folder, count):
    pose, transl = poses(count)
    _replace(folder, "reconstructed_poses.hdf5", pose=pose, trans=transl, betas=np.zeros(10))


def _masks(folder, count):
    masks = np.stack([picture(frame)[1] for frame in range(count)]).astype(np.int8)
    _replace(folder, "masks.hdf5", masks=masks)


UNEVEN = {
    "a pose more, as distributed": (lambda f: _poses(f, FRAMES + 1), FRAMES, "8 frames in the video, 8 masks, 9 poses"),
    "fewer poses": (lambda f: _poses(f, FRAMES - 1), FRAMES - 1, "7 poses"),
    "fewer translations": (
        lambda f: _replace(
            f, "reconstructed_poses.hdf5", pose=poses()[0], trans=poses(FRAMES - 2)[1], betas=np.zeros((1, 10))
        ),
        FRAMES - 2,
        "6 poses",
    ),
    "more masks": (lambda f: _masks(f, FRAMES + 3), FRAMES, "11 masks"),
    "fewer masks": (lambda f: _masks(f, FRAMES - 3), FRAMES - 3, "5 masks"),
    "a shorter video": (lambda f: write_video(f / "one.mp4", FRAMES - 3), FRAMES - 3, "5 frames in the video"),
    "a longer video": (lambda f: write_video(f / "one.mp4", FRAMES + 2), FRAMES, "10 frames in the video"),
}


@pytest.mark.parametrize("name", UNEVEN)
def test_frames_masks_and_poses_belong_together_from_the_first(tmp_path, name, capsys):
    folder = write_raw(tmp_path / "one")
    before = pictures(parse(folder, holdout_every=0))
    spoil, count, told = UNEVEN[name]
    spoil(folder)
    outputs = parse(folder, holdout_every=0)
    assert list(outputs.metadata["pictures"].frames) == list(range(count))
    assert torch.equal(pictures(outputs), before[:count])
    shown = " ".join(capsys.readouterr().out.split())
    assert told in shown and f"the first {count} are used" in shown


def test_published_frames_that_a_cut_recording_lacks_are_left_out_and_told(tmp_path, capsys):
    folder = write_raw(tmp_path / "male-2-casual")  # published: 1 to 455, every fourth
    assert list(parse(folder, gender="neutral").metadata["pictures"].frames) == [1, 5]
    assert "112 of 114 train frames" in " ".join(capsys.readouterr().out.split())


def test_poses_and_pictures_of_the_preprocessed_layout_belong_together_from_the_first(tmp_path, capsys):
    folder = write_preprocessed(tmp_path / "one")
    pose, transl = poses(FRAMES + 1)
    np.savez(folder / "poses.npz", betas=np.zeros(10, np.float32), thetas=pose, transl=transl)
    assert len(parse(folder, holdout_every=0).metadata["pictures"].frames) == FRAMES
    np.savez(folder / "poses.npz", betas=np.zeros(10, np.float32), thetas=pose[:5], transl=transl[:5])
    assert len(parse(folder, holdout_every=0).metadata["pictures"].frames) == 5
    assert "8 pictures, 5 poses in poses.npz: the first 5" in " ".join(capsys.readouterr().out.split())


class _Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


RAW_MISTAKES = {
    "missing masks": (lambda f: (f / "masks.hdf5").unlink(), "masks.hdf5", "no such file"),
    "video of another size": (lambda f: write_video(f / "one.mp4", size=64), "one.mp4", "64x64"),
    "truncated video": (lambda f: os.truncate(f / "one.mp4", 900), "one.mp4", "no pictures|Error|Invalid"),
    "no video": (lambda f: (f / "one.mp4").unlink(), "one", "no video"),
    "NaN poses": (_nan_poses, "reconstructed_poses.hdf5", "NaN.*row 3"),
    "malicious camera": (lambda f: (f / "camera.pkl").write_bytes(pickle.dumps(_Attack())), "camera.pkl", "system"),
    "mask of another size": (
        lambda f: _replace(f, "masks.hdf5", masks=np.zeros((FRAMES, 20, 20), np.int8)),
        "masks.hdf5",
        r"\(8, 20, 20\)",
    ),
    "broken splits": (lambda f: (f / "splits.json").write_text('{"train": [0]}'), "splits.json", "val"),
    "frames beyond the end": (
        lambda f: (f / "splits.json").write_text('{"train": [90], "val": [0], "test": [0]}'),
        "one",
        "up to 90",
    ),
}


@pytest.mark.parametrize("name", RAW_MISTAKES)
def test_a_mistake_in_a_raw_folder_is_named(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_raw(tmp_path / "one")
    spoil, file, found = RAW_MISTAKES[name]
    spoil(folder)
    with pytest.raises(DataError, match=f"(?s){file}.*found:.*{found}.*expected:.*fix:"):
        parse(folder)
    assert not Path("attacked").exists()


def _small_mask(folder):
    np.save(folder / "masks" / "mask_0000.npy", np.ones((10, 10), np.uint8))


PREPROCESSED_MISTAKES = {
    "missing masks": (lambda f: [path.unlink() for path in (f / "masks").iterdir()], "one", "no masks"),
    "missing pictures": (lambda f: [path.unlink() for path in (f / "images").iterdir()], "images", "in it"),
    "mask of another size": (_small_mask, "mask_0000.npy", "10x10"),
    "broken picture": (
        lambda f: (f / "images" / "image_0000.png").write_bytes(b"x"),
        "image_0000.png",
        "not a picture",
    ),
    "no poses": (lambda f: (f / "poses.npz").unlink(), "poses.npz", "no such file"),
    "no intrinsics": (lambda f: np.savez(f / "cameras.npz", extrinsic=np.eye(4)), "cameras.npz", "extrinsic"),
}


@pytest.mark.parametrize("name", PREPROCESSED_MISTAKES)
def test_a_mistake_in_a_preprocessed_folder_is_named(tmp_path, name):
    folder = write_preprocessed(tmp_path / "one")
    spoil, file, found = PREPROCESSED_MISTAKES[name]
    spoil(folder)
    with pytest.raises(DataError, match=f"(?s){file}.*found:.*{found}.*expected:.*fix:"):
        pictures(parse(folder))


def test_a_folder_that_is_no_subject(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"(?s)notes\.txt.*--data"):
        parse(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        parse(tmp_path / "nowhere")


def test_a_folder_of_several_needs_a_subject(tmp_path):
    for name in ("ann", "ben"):
        write_raw(tmp_path / name)
    with pytest.raises(DataError, match=r"(?s)ann, ben.*--subject ann"):
        parse(tmp_path)
    assert parse(tmp_path, subject="ben").image_filenames[0].parent.name == "ben"
