"""The demo's orchestration: budgets, report and page, with drawing, training and rendering replaced."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from nerfstudio_avatars.avatars import avatar, nerfstudio_commands, person_demo
from nerfstudio_avatars.avatars.nerfstudio_commands import WARM_UP_STEPS, TrainedRun
from nerfstudio_avatars.cli.demo import Demo
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.media.picture_files import write_png

MEANS = {"psnr": 36.5, "ssim": 0.995, "box_psnr": 31.5, "box_ssim": 0.98}
FIGURES = {f"{group}_{name}": value for group in person_demo.GROUPS for name, value in MEANS.items()}


@pytest.fixture
def stage(monkeypatch, tmp_path):
    """A computer that needs 20 ms a step; what was asked of it is kept."""
    asked = SimpleNamespace(steps=[], measured=[], looks=[])

    def train(method, data, runs, name, steps, options, log, title):
        asked.steps.append((name, steps))
        return TrainedRun(runs / name / method / "run" / "config.yml", steps, steps * 0.02, steps * 0.02 + 9)

    def measured(config, comparisons):
        asked.measured.append(comparisons.relative_to(tmp_path).as_posix())
        comparisons.mkdir(parents=True)
        write_png(comparisons / "novel_view-000001.png", np.zeros((2, 6, 3), np.uint8))
        return FIGURES | {"render_fps": 5.0}

    def compare_looks(comparisons, output):
        asked.looks += comparisons
        (output / "looks").mkdir()
        for number in range(len(comparisons) + 1):
            write_png(output / "looks" / f"{number}.png", np.zeros((2, 2, 3), np.uint8))

    def film_results(avatar, output, size, seconds):
        for name in ("turntable.mp4", "walk.mp4"):
            (output / name).touch()

    def export(output, motion, **options):
        asked.exported = motion
        output.touch()

    monkeypatch.setattr(nerfstudio_commands, "train", train)
    monkeypatch.setattr(person_demo, "measured", measured)
    monkeypatch.setattr(person_demo, "compare_looks", compare_looks)
    monkeypatch.setattr(person_demo, "film_results", film_results)
    monkeypatch.setattr(person_demo, "show_video", lambda video, output, *_: (output / "video.mp4").touch())
    monkeypatch.setattr(avatar.Avatar, "load", lambda _path: SimpleNamespace(export=export))
    drawn = tmp_path / "data" / "demo-person" / "demo-casual"
    drawn.mkdir(parents=True)
    (drawn / "demo-casual.mp4").touch()
    return asked


def test_steps_follow_the_speed_just_measured(stage, tmp_path):
    Demo(output=tmp_path, seconds_list=(10, 30, 60), method="instant-avatar-cpu").run()
    assert stage.steps[0] == ("warm-up", WARM_UP_STEPS)
    assert stage.steps[2:] == [("30s", 1500), ("60s", 3000)]


def test_the_report_has_every_figure_and_every_budget(stage, tmp_path, capsys):
    Demo(output=tmp_path, seconds_list=(10, 30)).run()
    report = json.loads((tmp_path / "report.json").read_text())
    for group in ("novel_view", "novel_pose"):
        assert report[f"{group}_psnr"] == 36.5 and report[f"{group}_box_psnr"] == 31.5
        assert report[f"{group}_ssim"] == 0.995 and report[f"{group}_box_ssim"] == 0.98
    assert report["train_seconds"] == pytest.approx(30) and report["render_fps"] == 5.0 and report["device"]
    assert set(report["by_budget"]) == {"10", "30"}
    last = capsys.readouterr().out.splitlines()[-4:]
    assert str(tmp_path / "index.html") in last[0]
    assert "36.5" in last[1] and "36.5" in last[2] and "train_seconds" in last[3]


def test_the_page_shows_the_video_the_result_and_every_training(stage, tmp_path):
    Demo(output=tmp_path, seconds_list=(10, 30)).run()
    page = (tmp_path / "index.html").read_text()
    for link in ("video.mp4", "turntable.mp4", "walk.mp4", "avatar.html", "held-out/novel_view-000001.png"):
        assert f'src="{link}"' in page
    assert "After 10 s" in page and "After 30 s" in page and "36.50" in page and str(tmp_path) not in page
    assert stage.measured == ["runs/10s/held-out", "held-out"] and len(stage.looks) == 2
    assert "ns-avatar create my_video.mp4" in page and "walk" in stage.exported


def test_a_drawn_person_without_a_group_is_told(stage, tmp_path, monkeypatch):
    monkeypatch.setattr(person_demo, "measured", lambda *_: {"novel_view_psnr": 30.0})
    with pytest.raises(UserError, match="no held-out group 'novel_pose'"):
        Demo(output=tmp_path, seconds_list=(10,)).run()


@pytest.mark.parametrize("budgets", [(), (30, 10), (0, 10), (10, 10)])
def test_budgets_must_rise(budgets, tmp_path):
    with pytest.raises(UserError, match="--seconds-list"):
        Demo(output=tmp_path, seconds_list=budgets).run()
