"""The demo sequence: PeopleSnapshot's format to the letter, exact against OpenCV, the same from the same seed."""

import hashlib
import json

import av
import cv2
import h5py
import numpy as np
import pytest
import torch

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.safe_pickle import load_pickle_safely
from nerfstudio_avatars.demo import draw_demo_sequence
from nerfstudio_avatars.demo.clothing import colour, thickness
from nerfstudio_avatars.demo.person import Camera, DemoPerson
from nerfstudio_avatars.demo.sequence import demo_extrinsic, demo_intrinsic, turning
from nerfstudio_avatars.demo.wardrobe import CASUAL
from nerfstudio_avatars.errors import DataError, UserError

SIZE, FRAMES = 64, 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw_demo_sequence(tmp_path_factory.mktemp("demo"), size=SIZE, frames=FRAMES)


@pytest.fixture(scope="module")
def person():
    return DemoPerson(torch.zeros(10))


def test_files_are_people_snapshots(folder):
    camera = load_pickle_safely(folder / "camera.pkl")
    assert set(camera) == {"camera_t", "camera_rt", "camera_f", "camera_c", "camera_k", "width", "height"}
    assert camera["width"] == camera["height"] == SIZE
    with h5py.File(folder / "masks.hdf5") as file:
        masks, soft = file["masks"][:], file["soft_masks"][:]
    assert masks.shape == (FRAMES, SIZE, SIZE) and masks.dtype == np.int8 and set(np.unique(masks)) == {0, 1}
    assert ((soft >= 128) == masks.astype(bool)).all()
    with h5py.File(folder / "reconstructed_poses.hdf5") as file:
        assert {name: file[name].shape for name in file} == {"pose": (FRAMES, 72), "trans": (FRAMES, 3), "betas": (10,)}
    with h5py.File(folder / "keypoints.hdf5") as file:
        assert file["keypoints"].shape == (FRAMES, 54)
    assert set(load_pickle_safely(folder / "consensus.pkl")) == {"betas", "v_personal"}
    with av.open(str(folder / "demo-casual.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == FRAMES


def test_splits_do_not_share_frames(folder):
    splits = json.loads((folder / "splits.json").read_text())
    train, val, test = (set(splits[name]) for name in ("train", "val", "test"))
    assert train and test and not (train & test or train & val or val & test)
    assert max(train | val | test) < FRAMES
    for frame in val | test:
        assert (folder / "ground_truth" / f"image_{frame:04d}.png").is_file()


def test_the_full_sequence_has_sixty_frames_to_learn_from_and_fifteen_views_between_them(tmp_path, monkeypatch):
    from nerfstudio_avatars.demo.on_disk import DemoFolder

    person = DemoPerson(torch.zeros(10))
    motion = turning(person, 120, np.random.default_rng(0))
    folder = DemoFolder(tmp_path, "x", person, motion, Camera(demo_intrinsic(8), np.eye(4), 8, 8))
    assert (len(folder.train), len(folder.test)) == (60, 15)
    assert all(frame - 1 in folder.train and frame + 1 in folder.train for frame in folder.test)


def test_the_body_is_drawn_where_opencv_projects_it(folder):
    with h5py.File(folder / "reconstructed_poses.hdf5") as file:
        pose, trans, betas = (torch.from_numpy(file[name][:]).float() for name in ("pose", "trans", "betas"))
    camera = load_pickle_safely(folder / "camera.pkl")
    motion = BodySequence(betas, pose[:, :3], pose[:, 3:], trans)
    person = DemoPerson(betas)
    joints = person.body.pose(motion.state(3)).joints.numpy()
    k = np.array(
        [
            [camera["camera_f"][0], 0, camera["camera_c"][0]],
            [0, camera["camera_f"][1], camera["camera_c"][1]],
            [0, 0, 1],
        ]
    )
    pixels, _ = cv2.projectPoints(joints, camera["camera_rt"], camera["camera_t"], k, camera["camera_k"])
    with h5py.File(folder / "masks.hdf5") as file:
        mask = file["masks"][3]
    inside = [mask[int(round(y)), int(round(x))] for x, y in pixels[[0, 3, 6, 9, 12, 15, 1, 2], 0]]
    assert all(inside)


def test_depth_is_the_surface_opencv_projects(person):
    """The nearest vertex behind a pixel is as deep as the z-buffer says."""
    motion = turning(person, 8, np.random.default_rng(0))
    camera = Camera(demo_intrinsic(200), demo_extrinsic(40, 10), 200, 200)
    hits, surface = person.hits(motion.state(2), camera)
    pixels, _ = cv2.projectPoints(surface, np.zeros(3), np.zeros(3), camera.intrinsic, None)
    x, y = pixels[:, 0].round().astype(int).T
    seen = hits.depth[y, x]
    assert np.isfinite(seen).mean() > 0.85
    # Rounded to whole pixels, a vertex may only be hidden, never stand before the surface by more than a slanted pixel.
    before = (seen - surface[:, 2])[np.isfinite(seen)]
    assert np.quantile(before, 0.995) < 0.05
    assert (np.abs(before) < 0.02).mean() > 0.3


def test_barycentric_weights_are_corrected_for_perspective():
    from nerfstudio_avatars.media.rasteriser import rasterise

    triangle = np.array([[-1.0, -1, 2], [1.5, -1, 6], [-1, 1.5, 4]])
    k = np.array([[50.0, 0, 32], [0, 50, 32], [0, 0, 1]])
    hits = rasterise(triangle, np.array([[0, 1, 2]]), k, 64, 64)
    row, column = (int(i) for i in np.argwhere(hits.face == 0)[40])
    point = hits.barycentric[row, column] @ triangle
    np.testing.assert_allclose(point[2], hits.depth[row, column], rtol=1e-5)
    np.testing.assert_allclose(k @ point / point[2], [column, row, 1], atol=1e-3)


def test_the_same_seed_draws_the_same_sequence(folder, tmp_path):
    again = draw_demo_sequence(tmp_path, size=SIZE, frames=FRAMES)

    def prints(root):
        return {
            str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(root.rglob("*"))
            if p.is_file() and p.suffix in (".png", ".pkl", ".json", ".hdf5")
        } | {"video": video(root)}

    def video(root):  # the container may hold the time of writing
        with av.open(str(root / "demo-casual.mp4")) as container:
            frames = [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]
        return hashlib.sha256(b"".join(frames)).hexdigest()

    assert prints(folder) == prints(again)
    other = draw_demo_sequence(tmp_path / "other", size=SIZE, frames=FRAMES, seed=1)
    assert prints(other) != prints(again)


def test_novel_poses_are_not_the_turn(folder):
    poses = np.load(folder / "novel_poses" / "poses.npz")
    cameras = np.load(folder / "novel_poses" / "cameras.npz")
    assert len(poses["body_pose"]) == len(cameras["extrinsic"]) == 10
    assert np.abs(poses["body_pose"]).max() > 0.8
    rotations = cameras["extrinsic"][:, :3, :3]
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (10, 1, 1)), atol=1e-9)


def test_an_earlier_demo_is_replaced_and_a_strangers_folder_is_not(folder, tmp_path):
    draw_demo_sequence(folder.parent, size=SIZE, frames=FRAMES)
    stranger = tmp_path / "demo-casual"
    stranger.mkdir()
    (stranger / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match="without a demo sequence"):
        draw_demo_sequence(tmp_path, size=SIZE, frames=FRAMES)
    assert (stranger / "thesis.tex").read_text() == "years of work"
    assert not list(tmp_path.glob(".*.partial"))


def test_nothing_is_left_of_a_drawing_that_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(DemoPerson, "draw", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        draw_demo_sequence(tmp_path, size=SIZE, frames=FRAMES)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_tables_that_could_not_be_written(tmp_path, monkeypatch):
    from nerfstudio_avatars.demo.on_disk import DemoFolder

    monkeypatch.setattr(DemoFolder, "_write_tables", lambda _: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(UserError, match="(?s)no space.*nothing was written"):
        draw_demo_sequence(tmp_path, size=SIZE, frames=FRAMES)
    assert list(tmp_path.iterdir()) == []


def test_a_turn_of_too_few_frames_is_refused(tmp_path):
    with pytest.raises(DataError, match="at least 16"):
        draw_demo_sequence(tmp_path, size=SIZE, frames=4)


def test_clothes_stand_off_the_skin_and_cover_the_hips(person):
    rest = person._pattern
    off = thickness(rest, CASUAL)
    assert off.min() >= 0 and 0.015 < off.max() <= 0.022
    hips = (np.abs(rest[:, 0]) < 0.2) & (rest[:, 1] > -0.45) & (rest[:, 1] < -0.2)
    skin = np.array(colour(0.8, 0.2, 0.02, CASUAL.palette, CASUAL.cut))
    assert hips.sum() > 100
    assert all(np.abs(np.array(colour(*p, CASUAL.palette, CASUAL.cut)) - skin).max() > 0.1 for p in rest[hips].tolist())
    assert off[np.abs(rest[:, 0]) > 0.75].max() == 0, "hands wear nothing"
