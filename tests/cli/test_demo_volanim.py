"""The whole demo, very short: everything is written, and says what it is."""

import json
import math

import av
import numpy as np
import pytest
from PIL import Image

from nerfstudio_avatars.avatars import run as run_config
from nerfstudio_avatars.avatars.heads_demo import METHOD, SIZE
from nerfstudio_avatars.cli.demo_volanim import DemoVolanim
from nerfstudio_avatars.demo import body_clips, head_clips
from nerfstudio_avatars.demo.heads_page import FIGURES
from nerfstudio_avatars.errors import UserError

FRAMES = 17
"""Of each clip; two are held out, so that there is a correlation."""


@pytest.fixture
def hurried(monkeypatch):
    """Shorter clips, fewer samples, and inversions of two steps."""
    draw, load = head_clips.draw_head_clips, run_config.load_run
    draw_bodies = body_clips.draw_body_clips

    def draw_few(out, identities, size):
        return draw(out, identities=identities, frames=FRAMES, size=size, test_identities=1)

    def load_quick(path, **options):
        run = load(path, **options)
        config = run.model.config
        config.inversion.code_steps = config.inversion.tune_steps = 2
        config.eval_samples = 16
        return run

    def draw_few_bodies(out, identities, test_identities):
        return draw_bodies(out, identities=identities, frames=FRAMES, test_identities=test_identities)

    monkeypatch.setattr(head_clips, "draw_head_clips", draw_few)
    monkeypatch.setattr(body_clips, "draw_body_clips", draw_few_bodies)
    monkeypatch.setattr(run_config, "load_run", load_quick)


@pytest.mark.slow
def test_it_writes_page_sheets_video_and_report(hurried, tmp_path, capsys):
    DemoVolanim(
        output=tmp_path, steps=12, one_part=True, ceiling_steps=2, identities=3, bodies=2, bodies_steps=12
    ).run()
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["method"] == METHOD and report["steps"] == 12
    assert report["demo_seconds"] > report["train_seconds"] > 0
    for name in (*FIGURES, "inversion_start_l1", "inversion_code_l1", "inversion_tuned_l1"):
        assert math.isfinite(report[name]), name
    assert report["one_part"]["steps"] == 12 and report["true_poses"]["steps"] == 2
    assert report["mouth_l1_ratio"] == pytest.approx(report["mouth_l1"] / report["one_part"]["mouth_l1"])
    fitted, bodies = report["fitted_poses"], report["bodies"]
    assert math.isfinite(fitted["jaw_turn_slope"]) and fitted["rounds"] == bodies["fitted_poses"]["rounds"] == 10
    assert {"upper_arms_iou", "lower_arms_iou", "head_iou", "turn_slopes", "arms_cross_ratio"} <= set(bodies)
    for name in ("heads.png", "inverted.png", "bodies.png"):
        assert np.asarray(Image.open(tmp_path / name)).std() > 5
    with av.open(str(tmp_path / "driven.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == FRAMES and frames[0].shape == (2 * SIZE, 3 * SIZE, 3)
    page = (tmp_path / "index.html").read_text("utf8")
    assert METHOD in page and "driven.mp4" in page and "bodies.png" in page
    said = capsys.readouterr().out
    assert "index.html" in said.splitlines()[-2] and "depth_corr" in said.splitlines()[-1]


def test_too_few_steps_are_refused(tmp_path):
    with pytest.raises(UserError, match="--steps 3: expected at least 10"):
        DemoVolanim(output=tmp_path / "demo", steps=3).run()
    assert not (tmp_path / "demo").exists()
