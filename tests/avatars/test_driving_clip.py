"""Curves of parts in files: what is written comes back, moves others, and is refused where it belongs to nobody."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.avatars.driving import DrivenShot, drive, driving_poses
from nerfstudio_avatars.avatars.driving_clip import DrivingClip, load_curves, save_curves
from nerfstudio_avatars.avatars.run import load_run
from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses


@pytest.fixture(scope="module")
def run(volanim_config):
    return load_run(volanim_config)


@pytest.fixture
def clip(run):
    torch.manual_seed(0)
    parts = run.model.network.parts
    turns, shifts = torch.randn(5, parts, 3), torch.randn(5, parts, 3)
    return DrivingClip([PartPoses(axis_angle_to_matrix(turns[n : n + 1]), shifts[n : n + 1]) for n in range(5)], 12.5)


@pytest.mark.parametrize("ending", [".npz", ".json"])
def test_what_is_written_comes_back(run, clip, ending, tmp_path):
    save_curves(clip, run.model, tmp_path / f"curves{ending}")
    back = load_curves(tmp_path / f"curves{ending}", run.model)
    assert len(back) == 5 and back.fps == 12.5
    torch.testing.assert_close(back.joined().rotation, clip.joined().rotation, atol=1e-5, rtol=0)
    torch.testing.assert_close(back.joined().translation, clip.joined().translation, atol=1e-5, rtol=0)
    assert len(load_curves(tmp_path / f"curves{ending}", run.model, seconds=0.16)) == 2


def test_the_layout_is_that_of_the_documentation(run, clip, tmp_path):
    save_curves(clip, run.model, tmp_path / "curves.json")
    content = json.loads((tmp_path / "curves.json").read_text("utf8"))
    parts = run.model.network.parts
    shapes = {name: np.shape(content[name]) for name in content}
    assert shapes == {
        "format": (), "network": (), "fps": (), "rotation": (5, parts, 4), "translation": (5, parts, 3),
        "root_rotation": (5, 4), "root_translation": (5, 3),
    }  # fmt: skip
    expected = Rotation.from_matrix(clip.joined().rotation.flatten(0, 1).numpy()).as_matrix()
    found = Rotation.from_quat(np.reshape(content["rotation"], (-1, 4))).as_matrix()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_film_can_be_shot_again_from_its_curves(run, tmp_path):
    names = run.model.clips.identities
    shot = DrivenShot(driving=names[1], identity=names[0], seconds=0.1, height=16, width=16)
    drive(run, replace(shot, save_motion=tmp_path / "curves.npz", relative=True), tmp_path / "first")
    drive(run, replace(shot, driving=str(tmp_path / "curves.npz")), tmp_path / "again")
    first, again = (
        [np.asarray(Image.open(file)).astype(int) for file in sorted((tmp_path / folder).iterdir())]
        for folder in ("first", "again")
    )
    assert len(first) == 2 and max(abs(a - b).max() for a, b in zip(first, again, strict=True)) <= 1


def damaged(change):
    def case(content):
        change(content)
        return json.dumps(content)

    return case


CASES = {
    "no JSON": (lambda _: "nonsense", "JSONDecodeError"),
    "a list": (lambda _: "[1]", "a list"),
    "too deep": (lambda _: "[" * 100_000, "Error"),
    "another format": (damaged(lambda c: c.update(format="bvh")), "the format 'bvh'"),
    "another network": (damaged(lambda c: c.update(network="abc")), "curves of another run"),
    "no rate": (damaged(lambda c: c.update(fps=0)), "frames per second"),
    "a rate of text": (damaged(lambda c: c.update(fps="fast")), "ValueError"),
    "nothing in it": (damaged(lambda c: c.clear()), "KeyError"),
    "no rotation": (
        damaged(lambda c: c.update(rotation=np.multiply(c["rotation"], 2).tolist())),
        "no unit quaternions",
    ),
    "NaN": (damaged(lambda c: c["translation"][0][0].__setitem__(0, float("nan"))), "no unit quaternions, or numbers"),
    "far away": (damaged(lambda c: c["translation"][0][0].__setitem__(0, 1e9)), "no unit quaternions, or numbers"),
    "fewer parts": (damaged(lambda c: c.update(rotation=[row[:1] for row in c["rotation"]])), "of shape"),
    "no frames": (damaged(lambda c: c.update(rotation=[], translation=[])), "of shape"),
    "ragged": (damaged(lambda c: c["rotation"].append([1])), "ValueError"),
}


@pytest.mark.parametrize("name", CASES)
def test_files_that_are_no_curves_are_refused(run, clip, name, tmp_path):
    path = tmp_path / "curves.json"
    save_curves(clip, run.model, path)
    case, message = CASES[name]
    path.write_text(case(json.loads(path.read_text("utf8"))), "utf8")
    with pytest.raises(DataError, match=message) as error:
        driving_poses(run.model, str(path))
    assert "curves.json" in str(error.value)


def test_names_are_told_before_anything_is_rendered(run, tmp_path):
    with pytest.raises(UserError, match=r"a.txt: expected a file name that ends in .npz or .json"):
        DrivenShot(driving="clip.mp4", save_motion=tmp_path / "a.txt").check()
    with pytest.raises(DataError, match="no such file"):
        driving_poses(run.model, str(tmp_path / "nowhere.npz"))
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="part curves that"):
        driving_poses(run.model, str(tmp_path / "cut.npz"))
