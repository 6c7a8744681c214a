"""Every example runs as it stands, on a run whose data are gone."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfstudio_avatars.motion.readers import read_motion

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name, *arguments):
    """Calls an example's `main`, and returns the output, which it was given last."""
    runpy.run_path(str(EXAMPLES / name))["main"](*map(str, arguments))
    return arguments[-1]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short(path):
    assert len(path.read_text("utf8").splitlines()) < 30


def test_load_and_render(orphan, tmp_path):
    picture = np.asarray(Image.open(run("01_load_and_render.py", orphan, tmp_path / "a.png")))
    assert picture.shape == (270, 270, 4) and 0.02 < (picture[..., 3] > 128).mean() < 0.5


def test_film_a_motion(orphan, tmp_path):
    output = tmp_path / "frames"
    runpy.run_path(str(EXAMPLES / "02_film_a_motion.py"))["main"](str(orphan), "cartwheel", str(output), "32")
    assert len(list(output.glob("*.png"))) == 24


def test_pose_by_hand(orphan, tmp_path):
    picture = np.asarray(Image.open(run("03_pose_by_hand.py", orphan, tmp_path / "a.png")))
    assert picture[..., 3].max() == 255


def test_save_a_mesh(orphan, tmp_path):
    assert run("04_save_a_mesh.py", orphan, tmp_path / "me.ply").read_bytes().startswith(b"ply\n")


def test_mix_motions(orphan, tmp_path):
    mixed = read_motion(run("05_mix_motions.py", orphan, tmp_path / "mixed.npz")).sequence
    assert len(mixed) == 36 and mixed.fps == 24
    assert (mixed.transl[1:] - mixed.transl[:-1]).norm(dim=-1).max() < 0.3, "no jump"


def test_drive_a_face(volanim_orphan, head_clips, tmp_path):
    clip = sorted((head_clips / "train").iterdir())[1]
    picture = sorted((head_clips / "test").glob("*/*.png"))[0]
    output = tmp_path / "moved"
    runpy.run_path(str(EXAMPLES / "06_drive_a_face.py"))["main"](
        str(volanim_orphan), str(picture), str(clip), str(output)
    )
    assert len(list(output.glob("*.png"))) == 16
