"""A job's process: what is done is left alone, what failed says why, and whatever is killed goes on later."""

import os
import signal
import time

import pytest
from pretended_training import PretendedTraining

from nerfstudio_avatars.avatars.fleet import job_process
from nerfstudio_avatars.avatars.fleet.engine import Resources, job_environment, start_job
from nerfstudio_avatars.avatars.fleet.job import log_file, read_job
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.nerfstudio_glue.child_command import tail

THREADS = 3


def started(file):
    return start_job(file, job_environment(Resources(THREADS)))


def until(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_a_job_runs_its_command_once(tmp_path, monkeypatch):
    pretended = PretendedTraining(tmp_path, monkeypatch)
    file = pretended.job("anna")
    assert started(file).wait() == 0 and started(file).wait() == 0
    job = read_job(file)
    assert job.state == "done" and job.next_stage() is None and job.seconds["train"] > 0
    assert pretended.steps("anna") == [0, 1, 2]
    assert (pretended.runs / "anna" / "threads").read_text() == str(THREADS)


def test_a_job_that_fails_says_its_last_lines(tmp_path, monkeypatch):
    pretended = PretendedTraining(tmp_path, monkeypatch)
    file = pretended.job("anna", data=tmp_path / "gone")
    assert started(file).wait() == 1 and started(file).wait() == 1
    job = read_job(file)
    assert (job.state, job.failures) == ("failed", 2) and job.last_lines.endswith("gone: no such folder")
    assert tail(log_file(pretended.output, "anna", "train")).count("$ ns-train method --data") == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_a_job_that_is_killed_goes_on_from_its_checkpoint_and_its_command_stops(number, tmp_path, monkeypatch):
    pretended = PretendedTraining(tmp_path, monkeypatch, steps=12, seconds=0.1)
    file = pretended.job("anna")
    process = started(file)
    until(lambda: pretended.steps("anna"))
    process.send_signal(number)
    assert process.wait() in (143, -9)
    until(lambda: not job_process.is_running(file))
    assert "saved a last checkpoint" in tail(log_file(pretended.output, "anna", "train"))
    assert len(pretended.steps("anna")) < 12 and read_job(file).state == "running"
    assert started(file).wait() == 0
    assert pretended.steps("anna") == list(range(12)) and read_job(file).state == "done"


def test_two_processes_of_one_job_take_turns(tmp_path, monkeypatch):
    pretended = PretendedTraining(tmp_path, monkeypatch, steps=4, seconds=0.1)
    file = pretended.job("anna")
    both = [started(file), started(file)]
    assert [process.wait() for process in both] == [0, 0]
    assert pretended.steps("anna") == [0, 1, 2, 3]


def test_a_file_that_is_no_job_is_told(tmp_path):
    file = tmp_path / "x.json"
    for text in ("{", "[]", "{}", '{"stages": [], "finished": {}, "colour": "red"}'):
        file.write_text(text)
        with pytest.raises(UserError, match="not a job written by"):
            read_job(file)
