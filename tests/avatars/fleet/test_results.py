"""The end of a fleet: table, JSON, CSV, contact sheet and page, with what failed; and the command of each job."""

import csv
import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tyro

from nerfstudio_avatars.avatars.creation import TITLES
from nerfstudio_avatars.avatars.fleet import fleet
from nerfstudio_avatars.avatars.fleet.fleet import FleetOptions, run_fleet
from nerfstudio_avatars.avatars.fleet.job import Job, Stage, job_file, read_job
from nerfstudio_avatars.avatars.fleet.results import as_html, write_results
from nerfstudio_avatars.avatars.fleet.table import Line, Overview, clock, terminal_table, write_page
from nerfstudio_avatars.avatars.fleet.training_progress import TrainingProgress
from nerfstudio_avatars.avatars.protocols import PROTOCOLS
from nerfstudio_avatars.avatars.stages import Stages
from nerfstudio_avatars.cli import main
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.media.picture_files import read_picture, write_png


@pytest.fixture
def measured(tmp_path):
    """Two finished jobs with figures as `ns-avatar evaluate` writes them, and one that failed."""
    jobs = []
    for name, psnr in (("anna", 30.0), ("bert", 34.0)):
        means = {"images": 2, "given_psnr_white": psnr, "given_ssim_white": 0.9}
        run = {"run": f"/runs/{name}", "subject": "other", "groups": {"novel_view": means}}
        run |= {"frames": {"novel_view": [1, 2]}, "render_fps": 3.0, "step": 99}
        folder = tmp_path / "evaluation" / name
        (folder / "pictures").mkdir(parents=True)
        (folder / "evaluation.json").write_text(json.dumps({"runs": [run]}))
        write_png(folder / "pictures" / "novel_view-0001.png", np.full((20, 60, 3), 50, np.uint8))
        jobs.append(Job(name, f"data/{name}", f"/runs/{name}", str(folder), (), state="done", seconds={"train": 5.0}))
    words = ("ns-train", "instant-avatar-cpu")
    jobs.append(
        Job("dora", "data/dora", "", "", (Stage("train", words),), "failed", failures=3, last_lines="<torn> file")
    )
    return jobs


def test_the_table_has_everybody_their_mean_and_what_failed(measured, tmp_path):
    text = write_results(tmp_path, measured, PROTOCOLS["ours"])
    assert "## ours" in text and "mean of 2" in text and "32.00" in text and "anna" in text and "| other" not in text
    assert "Failed: 1 of 3" in text and "dora (data/dora), train, 3 tries" in text and "<torn> file" in text
    content = json.loads((tmp_path / "fleet.json").read_text())
    assert [job["state"] for job in content["jobs"]] == ["done", "done", "failed"]
    with (tmp_path / "fleet.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["subject"], row["psnr"]) for row in rows] == [
        ("anna", "30.0"), ("bert", "34.0"), ("mean of 2", "32.0"), ("dora", "")
    ]  # fmt: skip
    assert rows[-1]["state"] == "failed" and {row["protocol"] for row in rows} == {"ours"}
    page = as_html(text)
    assert "<td>bert</td>" in page and "&lt;torn&gt; file" in page and 'src="people.png"' in page
    sheet = read_picture(tmp_path / "people.png").rgb
    assert (sheet == 50).all(-1).sum() > 1000 and (sheet == 200).all(-1).sum() > 1000


def test_nobody_finished_is_a_table_of_failures(measured, tmp_path):
    text = write_results(tmp_path, measured[2:], PROTOCOLS["ours"])
    assert (
        text.strip().startswith("Failed: 1 of 1") and json.loads((tmp_path / "fleet.json").read_text())["table"] == []
    )


def test_figures_of_something_else_are_told(measured, tmp_path):
    (tmp_path / "evaluation" / "anna" / "evaluation.json").write_text("{}")
    with pytest.raises(UserError, match="not written by `ns-avatar evaluate`"):
        write_results(tmp_path, measured, PROTOCOLS["ours"])


def test_the_page_loads_itself_again_until_the_end_and_shows_names_as_they_are(tmp_path):
    lines = [Line("<b>anna", "failed", ("failed", "", "", "", "try 1 of 3: <torn>"))]
    page = write_page(tmp_path, lines, "2 subjects")
    assert "&lt;b&gt;anna" in page.read_text() and "&lt;torn&gt;" in page.read_text() and "refresh" in page.read_text()
    assert "refresh" not in write_page(tmp_path, lines, "2 subjects", finished=True).read_text()


def test_the_table_follows_a_training_by_what_it_logs(tmp_path, monkeypatch):
    from torch.utils.tensorboard import SummaryWriter

    run = tmp_path / "run"
    now = [1000.0]
    monkeypatch.setattr("nerfstudio_avatars.avatars.fleet.training_progress.time.time", lambda: now[0])
    writer = SummaryWriter(str(run))
    following = TrainingProgress(run, steps=100)
    assert following.look() is None
    for step, psnr in ((0, 10.0), (20, 18.0)):
        writer.add_scalar("Train Metrics Dict/psnr", psnr, step, walltime=1000.0 + step / 2)
    writer.flush()
    now[0] = 1012.0
    first = following.look()
    assert (first.step, first.psnr) == (20, 18.0) and first.seconds_left == pytest.approx(79 / 2 - 2)
    writer.add_scalar("Train Metrics Dict/psnr", 25.0, 60, walltime=1030.0)
    writer.close()
    now[0] = 1030.0
    assert following.look().step == 60 and following.look().psnr == 25.0
    job = Job("anna", "", str(run), "", (Stage("train", ("ns-train",)),), state="running")
    job.write(job_file(tmp_path, "anna"))
    (line,) = Overview([job_file(tmp_path, "anna")], {"anna": 100}).lines()
    assert line.state == "waiting" and line.cells[1:3] == ("61/100", "25.0"), "nobody holds its lock"
    replace(job, state="done").write(job_file(tmp_path, "anna"))
    assert Overview([job_file(tmp_path, "anna")], {"anna": 100}).lines()[0].cells[1] == "100/100", (
        "the last one is done"
    )
    assert terminal_table([line], "title").row_count == 1 and clock(3725) == "1:02:05" and clock(65) == "1:05"


def test_the_table_says_what_is_done_with_a_video(tmp_path, monkeypatch):
    file = job_file(tmp_path, "bert")
    stage = Stage("create", ("ns-avatar", "create"))
    Job("bert", "", str(tmp_path / "run"), "", (stage,), state="running").write(file)
    monkeypatch.setattr("nerfstudio_avatars.avatars.fleet.table.is_running", lambda _: True)
    overview, account = Overview([file], {"bert": 50}), tmp_path / "created" / "bert" / "create.json"
    assert overview.lines()[0].cells == ("creating", "", "", "", ""), "it has not begun"

    def film():
        said.append(overview.lines()[0].cells[-1])
        return {}

    said, stages = [], Stages(account, TITLES, lambda *_: None)
    for name in ("process", "training"):
        stages.do(name, {}, (), film)
    assert said == ["Finding the person", "Training"] and overview.lines()[0].cells[-1] == ""


@pytest.fixture
def no_work(monkeypatch):
    """Jobs are written and never run."""
    given = []
    monkeypatch.setattr(fleet, "make_engine", lambda *_: None)
    monkeypatch.setattr(fleet, "work", lambda _, files, look: given.extend([file.stem for file in files]) or look())
    return given


def subject(folder, name):
    (folder / name).mkdir(parents=True)
    (folder / name / "camera.pkl").touch()
    return folder / name


def test_the_commands_of_a_job_are_those_that_a_person_would_type(tmp_path, no_work):
    from nerfstudio_avatars.cli import verbs
    from nerfstudio_avatars.methods import instant_avatar, instant_avatar_cpu

    people = tmp_path / "people"
    subject(people, "anna")
    options = FleetOptions(
        output=tmp_path / "out",
        method="instant-avatar-cpu",
        steps=50,
        options="--machine.seed 3",
        dataparser_options="people-snapshot --downscale-factor 4",
        protocol="novel-view",
    )
    run_fleet((people,), options, say=lambda _: None)
    assert no_work == ["anna"]
    anna = read_job(job_file(tmp_path / "out", "anna"))
    assert [stage.name for stage in anna.stages] == ["train", "evaluate"] and anna.steps == 50
    union = tyro.extras.subcommand_type_from_defaults(
        {"instant-avatar-cpu": instant_avatar_cpu.config, "instant-avatar": instant_avatar.config}
    )
    config = tyro.cli(tyro.conf.FlagConversionOff[union], args=list(anna.stages[0].words[1:]))
    config.data, config.timestamp = config.data, config.timestamp
    assert (config.data, config.max_num_iterations, config.machine.seed) == (people / "anna", 50, 3)
    assert str(config.get_base_dir()) == anna.run and config.pipeline.datamanager.dataparser.downscale_factor == 4
    evaluate = verbs.parse(list(anna.stages[1].words[1:]))
    assert str(evaluate.load_config[0]) == anna.run and evaluate.protocol == "novel-view"


def test_videos_go_through_create(tmp_path, no_work):
    from nerfstudio_avatars.cli import verbs

    (tmp_path / "bert.mp4").touch()
    table = tmp_path / "table.csv"
    table.write_text("subject,options\nbert.mp4,--start 2\n")
    options = FleetOptions(output=tmp_path / "out", method="instant-avatar-cpu", steps=50, create_options="--frames 60")
    run_fleet((table,), options, say=lambda _: None)
    bert = read_job(job_file(tmp_path / "out", "bert"))
    assert [stage.name for stage in bert.stages] == ["create", "evaluate"] and bert.steps == 50
    create = verbs.parse(list(bert.stages[0].words[1:]))
    assert (create.video, create.steps, create.start, create.frames) == (tmp_path / "bert.mp4", 50, 2.0, 60)
    assert Path(bert.run).is_relative_to(create.folder / "runs")
    with pytest.raises(UserError, match="all subjects are videos.*--create-options"):
        run_fleet((table,), FleetOptions(output=tmp_path / "other", options="--machine.seed 1"))
    with pytest.raises(UserError, match="--create-options are for videos"):
        run_fleet((subject(tmp_path, "anna"),), FleetOptions(output=tmp_path / "other", create_options="--frames 60"))


def test_what_is_done_stays_and_other_settings_are_told(tmp_path, no_work, capsys):
    from nerfstudio_avatars.files import write_json

    data = subject(tmp_path, "anna")
    run_fleet((data,), FleetOptions(output=tmp_path / "out", method="instant-avatar-cpu"), say=lambda _: None)
    file = job_file(tmp_path / "out", "anna")
    job = read_job(file)
    finished = {stage.name: stage.words for stage in job.stages}
    job.write(file, state="done", finished=finished)
    run = {"run": "", "subject": "", "groups": {}, "frames": {}, "render_fps": 1.0, "step": 1}
    write_json(tmp_path / "out" / "evaluation" / "anna" / "evaluation.json", {"runs": [run]})
    no_work.clear()
    arguments = ["fleet", str(data), "--output", str(tmp_path / "out"), "--method", "instant-avatar-cpu"]
    main(arguments)
    assert no_work == [] and "1 of 1 subjects done" in capsys.readouterr().out
    # Another protocol measures again, and trains nobody.
    with pytest.raises(SystemExit):
        main([*arguments, "--steps", "7"])
    said = capsys.readouterr().err
    assert "a job of other settings" in said and "--force" in said
    run_fleet((data,), FleetOptions(output=tmp_path / "out", method="instant-avatar-cpu", protocol="novel-pose"))
    assert no_work == ["anna"] and read_job(file).next_stage().name == "evaluate"
    run_fleet((data,), FleetOptions(output=tmp_path / "out", method="instant-avatar-cpu", steps=7, force=True))
    assert read_job(file).next_stage().name == "train" and read_job(file).steps == 7
    assert not (tmp_path / "out" / "evaluation" / "anna").exists()


def test_a_fleet_with_failures_ends_with_code_1(tmp_path, monkeypatch, capsys):
    def fail(_, files, look):
        for file in files:
            read_job(file).write(file, state="failed", failures=3, last_lines="torn")
        look()

    monkeypatch.setattr(fleet, "make_engine", lambda *_: None)
    monkeypatch.setattr(fleet, "work", fail)
    with pytest.raises(SystemExit) as end:
        main(["fleet", str(subject(tmp_path, "anna")), "--output", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert end.value.code == 1 and "anna: failed" in said and "0 of 1 subjects done" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--steps 1", "--steps 1: expected at least 2"),
        ("--jobs 0", "--jobs 0"),
        ("--memory-gb 0", "--memory-gb 0"),
        ("--method nerfacto", "instant-avatar-paper"),
    ],
)
def test_values_that_make_no_sense_are_told(words, said, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["fleet", str(subject(tmp_path, "anna")), "--output", str(tmp_path / "out"), *shlex.split(words)])
    assert end.value.code == 2 and said in capsys.readouterr().err


def test_a_method_in_a_table_that_is_not_for_one_person_is_told(tmp_path, capsys):
    table = tmp_path / "people.csv"
    table.write_text(f"subject,method\n{subject(tmp_path, 'anna')},unsup-volanim\n")
    with pytest.raises(SystemExit) as end:
        main(["fleet", str(table), "--output", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert end.value.code == 2 and "anna: there is no method 'unsup-volanim' for one person" in said
