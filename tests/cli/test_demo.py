"""The demo's orchestration: budgets, report and page, with drawing, training and rendering replaced."""

import json
from types import SimpleNamespace

import pytest

from nerfstudio_avatars.avatars import exporting, measure, nerfstudio_commands
from nerfstudio_avatars.avatars import film as shot
from nerfstudio_avatars.avatars import run as run_config
from nerfstudio_avatars.avatars.nerfstudio_commands import WARM_UP_STEPS, TrainedRun
from nerfstudio_avatars.cli.demo import Demo
from nerfstudio_avatars.demo import person_page
from nerfstudio_avatars.errors import UserError

MEANS = {"psnr": 36.5, "ssim": 0.995, "psnr_box": 31.5, "ssim_box": 0.98}
FIGURES = {"images": 2} | {f"given_{name}_white": value for name, value in MEANS.items()}


@pytest.fixture
def stage(monkeypatch, tmp_path):
    """A computer that needs 20 ms a step; what was asked of it is kept."""
    asked = SimpleNamespace(steps=[], films=[], commands=[])

    def train(method, data, runs, name, steps, options, log, title):
        asked.steps.append((name, steps))
        return TrainedRun(runs / name / method / "run" / "config.yml", steps, steps * 0.02, steps * 0.02 + 9)

    def film(run, shot, output):
        asked.films.append((shot.motion, shot.camera, output.name))
        output.touch()

    def run_command(script, arguments, log, title):
        asked.commands.append(script)
        pictures = tmp_path / "held-out"
        pictures.mkdir()
        (pictures / "eval_img_0000.png").touch()

    def export(run, output, options):
        asked.exported = options.motion
        output.touch()

    monkeypatch.setattr(exporting, "export", export)
    monkeypatch.setattr(nerfstudio_commands, "train", train)
    monkeypatch.setattr(nerfstudio_commands, "run_command", run_command)
    monkeypatch.setattr(shot, "film", film)
    config = SimpleNamespace(method="instant-avatar-cpu")
    monkeypatch.setattr(run_config, "load_run", lambda _path, **_: SimpleNamespace(config=config))
    answer = {"groups": {"novel_view": FIGURES, "novel_pose": FIGURES}, "render_fps": 5.0, "step": 9}
    monkeypatch.setattr(measure, "evaluate_loaded", lambda _run: answer)
    (tmp_path / "data" / "demo-person").mkdir(parents=True)
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


def test_the_page_shows_videos_pictures_and_figures_by_relative_links(stage, tmp_path):
    Demo(output=tmp_path).run()
    page = (tmp_path / "index.html").read_text()
    for link in ("turntable.mp4", "walk.mp4", "avatar.html", "held-out/eval_img_0000.png"):
        assert f'src="{link}"' in page
    assert "36.50" in page and str(tmp_path) not in page and "http" not in page
    assert stage.films == [("still", "turning", "turntable.mp4"), ("walk", "still", "walk.mp4")]
    assert stage.commands == ["eval"] and "walk" in stage.exported


@pytest.mark.parametrize("budgets", [(), (30, 10), (0, 10), (10, 10)])
def test_budgets_must_rise(budgets, tmp_path):
    with pytest.raises(UserError, match="--seconds-list"):
        Demo(output=tmp_path, seconds_list=budgets).run()


def test_text_from_outside_is_escaped_in_the_page(tmp_path):
    row = dict.fromkeys(person_page.COLUMNS, 1)
    report = {"method": "<b>", "device": "a & b", "by_budget": {"10": row}}
    page = person_page.write_person_page(tmp_path, report).read_text()
    assert "<b>" not in page and "a &amp; b" in page


def test_a_failing_command_shows_the_end_of_its_log(tmp_path):
    with pytest.raises(UserError, match="ns-no_such_script failed with code 1") as error:
        nerfstudio_commands.run_command("no_such_script", [], tmp_path / "train.log", "Training")
    assert "No module named" in str(error.value) and (tmp_path / "train.log").is_file()
