"""Figures of an unsup-volanim run on held-out frames."""

from __future__ import annotations

import json
import math

import pytest
import torch

from nerfstudio_avatars import tflite
from nerfstudio_avatars.avatars import measure_faces
from nerfstudio_avatars.avatars.measure_faces import animation_figures
from nerfstudio_avatars.cli import evaluate_animation
from nerfstudio_avatars.cli.evaluate_animation import EvaluateAnimation
from nerfstudio_avatars.errors import UserError


@pytest.fixture(scope="module")
def run(volanim_config):
    from nerfstudio_avatars.avatars.run import load_run

    return load_run(volanim_config, need_data=True)


def test_figures_of_pictures_without_faces_are_there_and_say_so(run):
    figures = animation_figures(run, 4)
    assert figures["frames"] == 4 and 0 < figures["l1"] < 1 and figures["psnr"] > 0 and -1 <= figures["ssim"] <= 1
    assert "not measured" in str(figures.get("faces", "not measured")) or "akd" in figures


def test_l1_is_the_error_of_the_model_s_own_pictures(run):
    model, rows = run.model.eval(), run.datamanager.eval_dataset.rows[:1]
    figures = animation_figures(run, 1)
    from nerfstudio_avatars.unsup_volanim.data.clip_cameras import clip_cameras

    clip, frame = rows[0].tolist()
    truth = model.clips.frame(clip, frame)
    seen = model.get_outputs_for_camera(clip_cameras(model.clips.table, rows, len(truth)))["rgb"]
    assert figures["l1"] == pytest.approx(float((seen - truth).abs().mean()), abs=1e-6)


def test_faces_are_measured_with_every_frame_moved_by_another_clip(run, monkeypatch):
    from nerfstudio_avatars.metrics import face_identity, face_landmarks
    from nerfstudio_avatars.metrics.head_pose import canonical_face

    face = canonical_face()[0]

    class Finder:
        def detect_all(self, images):
            return face.expand(len(images), -1, -1) + images.float().mean((1, 2, 3))[:, None, None]

    def embed_faces(images, landmarks):
        return torch.zeros(len(images), 128)

    monkeypatch.setattr(tflite, "runtime_is_installed", lambda: True)
    monkeypatch.setattr(face_landmarks, "FaceLandmarks", Finder)
    monkeypatch.setattr(face_identity, "embed_faces", embed_faces)
    figures = animation_figures(run, 4)
    assert figures["aed"] == 0 and figures["mkr"] == 0 and figures["akd"] > 0
    assert figures["pose_consistency"] == pytest.approx(0, abs=0.1), "all faces look the same way"
    assert figures["shape_consistency"] == pytest.approx(0, abs=0.01), "and have the same shape"
    expected = sum(abs(turn) for turn in measure_faces.TURNS) / len(measure_faces.TURNS)
    assert figures["yaw_deviation"] == pytest.approx(expected, abs=0.1), "no face turned at all"
    assert math.isnan(figures["mouth_corr"]) and math.isnan(figures["eyes_slope"]), "of so few frames of a clip"
    alone = animation_figures(run, 1)
    assert alone["yaw_deviation"] == pytest.approx(expected, abs=0.1) and "one clip" in alone["driven"]
    assert "pose_consistency" not in alone, "there is nobody else to be moved by"


def test_the_command_writes_its_figures(volanim_config, tmp_path, capsys):
    EvaluateAnimation(volanim_config, frames=1, output=tmp_path / "figures" / "a.json").run()
    assert json.loads((tmp_path / "figures" / "a.json").read_text())["frames"] == 1
    assert "l1" in capsys.readouterr().out


def test_people_never_trained_on_are_measured_if_asked_for(run, monkeypatch):
    model = run.model
    seen = []
    drawn = model.cube_of_clip
    monkeypatch.setattr(model, "cube_of_clip", lambda clip: seen.append(clip) or drawn(clip))
    figures = animation_figures(run, 4, people=True)
    assert set(seen) == set(model.clips.table.of_split("test"))
    assert figures["frames"] == 4 and math.isfinite(figures["l1"])


def test_figures_that_one_frame_does_not_allow_are_null_and_told(volanim_config, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluate_animation, "animation_figures", lambda *_: {"frames": 1.0, "akd": math.nan})
    EvaluateAnimation(volanim_config, frames=1, output=tmp_path / "a.json").run()
    assert json.loads((tmp_path / "a.json").read_text()) == {"frames": 1.0, "akd": None}
    assert "akd: not measured (too few frames" in capsys.readouterr().out


def test_no_frames_are_refused(volanim_config):
    with pytest.raises(UserError, match="at least 1"):
        EvaluateAnimation(volanim_config, frames=0).run()
