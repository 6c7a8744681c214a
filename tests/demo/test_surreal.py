"""The SURREAL demo: the data set's names, shapes and types to the letter, and pictures that agree with them."""

import hashlib

import av
import numpy as np
import pytest
import scipy.io
import torch

from nerfstudio_avatars.demo.person import DemoPerson
from nerfstudio_avatars.demo.surreal import draw_surreal_demo
from nerfstudio_avatars.demo.surreal_motions import FEET, poses_on_a_turn, shipped
from nerfstudio_avatars.errors import DataError

WIDTH, HEIGHT, FRAMES = 96, 72, 10
SHAPES = {
    "bg": (1, FRAMES), "camDist": (1, 1), "camLoc": (3, 1), "clipNo": (1, 1), "cloth": (1, FRAMES),
    "gender": (FRAMES, 1), "joints2D": (2, 24, FRAMES), "joints3D": (3, 24, FRAMES), "light": (9, FRAMES),
    "pose": (72, FRAMES), "sequence": (1,), "shape": (10, FRAMES), "source": (1,), "stride": (1, 1),
    "zrot": (FRAMES, 1),
}  # fmt: skip
SINGLE = ("camDist", "camLoc", "joints2D", "joints3D", "light", "pose", "shape", "zrot")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw_surreal_demo(tmp_path_factory.mktemp("demo"), width=WIDTH, height=HEIGHT, frames=FRAMES)


def _mat(path):
    return {key: value for key, value in scipy.io.loadmat(path).items() if not key.startswith("__")}


def _frames(path):
    with av.open(str(path)) as video:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])


def test_info_is_surreals(folder):
    assert folder.parts[-2:] == ("run0", "demo_01")
    info = _mat(folder / "demo_01_c0001_info.mat")
    assert {name: value.shape for name, value in info.items() if name != "body"} == SHAPES
    assert all(info[name].dtype == np.float32 for name in SINGLE)
    assert info["gender"].dtype == info["stride"].dtype == np.uint8
    assert (info["sequence"][0], info["source"][0], info["clipNo"][0, 0]) == ("demo_01_c0001", "cmu", 1)
    assert np.ptp(info["shape"], axis=1).max() == 0 and np.ptp(info["zrot"]) == 0


def test_parts_depth_and_video_belong_together(folder):
    segm, depth = (_mat(folder / f"demo_01_c0001_{kind}.mat") for kind in ("segm", "depth"))
    pictures = _frames(folder / "demo_01_c0001.mp4").astype(int)
    assert set(segm) == {f"segm_{i + 1}" for i in range(FRAMES)} and len(depth) == len(pictures) == FRAMES
    empty = np.median(pictures, 0)
    for frame, picture in enumerate(pictures):
        parts, metres = segm[f"segm_{frame + 1}"], depth[f"depth_{frame + 1}"]
        assert parts.shape == metres.shape == picture.shape[:2] == (HEIGHT, WIDTH)
        assert (parts.dtype, metres.dtype) == (np.uint8, np.float32)
        assert ((metres == np.float32(1e10)) == (parts == 0)).all()
        assert 5 < metres[parts > 0].min() < metres[parts > 0].max() < 8
        moved = np.abs(picture - empty).max(-1) > 60
        assert (parts[moved] > 0).mean() > 0.7
    seen = np.unique(np.concatenate([part.ravel() for part in segm.values()]))
    assert seen.min() == 0 and seen.max() <= 24 and len(seen) > 18


def test_parts_are_the_joints_own(folder):
    info, segm = _mat(folder / "demo_01_c0001_info.mat"), _mat(folder / "demo_01_c0001_segm.mat")
    for joint in (15, 4, 5, 18, 19):
        rows, columns = np.nonzero(segm["segm_1"] == joint + 1)
        middle = np.array([columns.mean(), rows.mean()]) + 0.5
        assert np.linalg.norm(middle - info["joints2D"][:, joint, 0]) < 9, joint


def test_the_three_clips_show_one_person_from_one_distance_in_different_motions(folder):
    infos = [_mat(folder / f"demo_01_c{clip:04d}_info.mat") for clip in (1, 2, 3)]
    for name in ("shape", "camDist", "camLoc", "cloth"):
        assert all((info[name][..., :1] == infos[0][name][..., :1]).all() for info in infos)
    assert [info["pose"].shape[1] for info in infos] == [FRAMES, 4, 4]
    learned = infos[0]["pose"][3:].T
    for info in infos[1:]:
        assert np.abs(info["pose"][3:].T[:, None] - learned).max(-1).min() > 0.3


def test_the_training_clip_turns_twice_and_stands_on_one_floor():
    person = DemoPerson(torch.zeros(10))
    motion = poses_on_a_turn(person, 20)
    joints = torch.stack([person.body.pose(motion.state(frame)).joints for frame in range(20)])
    across = joints[:, 1] - joints[:, 2]
    angles = np.unwrap(torch.atan2(across[:, 1], across[:, 0]).numpy())
    assert abs(angles[-1] - angles[0]) > 3.4 * np.pi
    for chosen in (motion, shipped(person, "walk", 6)):
        posed = torch.stack([person.body.pose(chosen.state(frame)).joints for frame in range(6)])
        torch.testing.assert_close(posed[:, FEET, 2].amin(1), torch.full((6,), -0.9), atol=1e-4, rtol=0)
        torch.testing.assert_close(posed[:, 0, :2], torch.zeros(6, 2), atol=1e-4, rtol=0)


def test_the_same_seed_draws_the_same_clips(folder, tmp_path):
    def prints(root):
        tables = {
            (path.name, key): hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
            for path in root.glob("*.mat")
            for key, value in _mat(path).items()
            if value.dtype.kind in "uif"
        }
        return tables | {path.name: _frames(path).tobytes() for path in root.glob("*.mp4")}

    size = {"width": WIDTH, "height": HEIGHT, "frames": FRAMES}
    assert prints(draw_surreal_demo(tmp_path / "again", **size)) == prints(folder)
    assert prints(draw_surreal_demo(tmp_path / "other", seed=1, **size)) != prints(folder)


def test_an_earlier_demo_is_replaced_and_a_strangers_folder_is_not(folder, tmp_path):
    draw_surreal_demo(folder.parents[1], width=WIDTH, height=HEIGHT, frames=FRAMES)
    stranger = tmp_path / "run0" / "demo_01"
    stranger.mkdir(parents=True)
    (stranger / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match="without a demo"):
        draw_surreal_demo(tmp_path, width=64, height=48, frames=1)
    assert (stranger / "thesis.tex").read_text() == "years of work"


def test_nothing_is_left_of_a_drawing_that_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(DemoPerson, "draw", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        draw_surreal_demo(tmp_path, width=64, height=48, frames=1)
    assert not list((tmp_path / "run0").iterdir())


@pytest.mark.parametrize("size", [{"frames": 0}, {"width": 63}, {"height": 10}])
def test_impossible_sizes_are_refused(tmp_path, size):
    with pytest.raises(DataError, match="even width"):
        draw_surreal_demo(tmp_path, **({"width": 64, "height": 48, "frames": 1} | size))
