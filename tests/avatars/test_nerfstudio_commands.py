"""nerfstudio's commands as children: what they are asked, how they go on, and with whom they end."""

import os
import signal
import subprocess
import sys
import time

import pytest

from nerfstudio_avatars.avatars import nerfstudio_commands
from nerfstudio_avatars.avatars.nerfstudio_commands import run_command, train
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.nerfstudio_glue import child_command
from nerfstudio_avatars.nerfstudio_glue.run_lock import RunLock

STEPS = 40


def test_a_failing_command_shows_the_end_of_its_log(tmp_path):
    with pytest.raises(UserError, match="ns-no_such_script failed with code 1") as error:
        nerfstudio_commands.run_command("no_such_script", [], tmp_path / "train.log", "Training")
    assert "No module named" in str(error.value) and (tmp_path / "train.log").is_file()


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Replaces the command by one that leaves what ns-train leaves, and keeps what it was asked."""
    asked = []

    def pretend(script, arguments, log, title):
        asked.append([script, *arguments])
        run = tmp_path / "me" / "instant-avatar" / "run"
        (run / "nerfstudio_models").mkdir(parents=True, exist_ok=True)
        (run / "dataparser_transforms.json").touch()
        (run / "nerfstudio_models" / f"step-{STEPS - 1:09d}.ckpt").touch()

    monkeypatch.setattr(nerfstudio_commands, "run_command", pretend)
    return asked


def trained(folder, options=()):
    return train("instant-avatar", folder / "data", folder, "me", STEPS, [*options], folder / "log", "Training")


def checkpoint(folder, step):
    models = folder / "me" / "instant-avatar" / "run" / "nerfstudio_models"
    models.mkdir(parents=True, exist_ok=True)
    (models / f"step-{step:09d}.ckpt").touch()
    return models


def test_a_training_begins_anew_where_there_is_none(asked, tmp_path):
    run = trained(tmp_path, ["people-snapshot", "--body", "smpl"])
    (command,) = asked
    assert command[:2] == ["train", "instant-avatar"] and "--load-dir" not in command
    assert command[-3:] == ["people-snapshot", "--body", "smpl"], "what belongs to the data comes last"
    assert not run.resumed and run.steps == STEPS


def test_a_training_goes_on_from_its_checkpoints(asked, tmp_path):
    models = checkpoint(tmp_path, 19)
    assert trained(tmp_path, ["people-snapshot"]).resumed
    (command,) = asked
    assert command[command.index("--load-dir") + 1] == str(models) and command[-1] == "people-snapshot"


def test_a_training_that_had_ended_is_not_run(asked, tmp_path):
    models = checkpoint(tmp_path, STEPS - 1)
    (models.parent / "dataparser_transforms.json").touch()
    assert trained(tmp_path).resumed and not asked


def test_it_waits_for_a_training_whose_starter_was_killed(asked, tmp_path, monkeypatch):
    hold = "import sys, time; from pathlib import Path; from nerfstudio_avatars.nerfstudio_glue.run_lock import RunLock"
    hold += "; lock = RunLock(Path(sys.argv[1])); print(flush=True); sys.stdin.read()"
    folder = tmp_path / "me" / "instant-avatar" / "run"
    with subprocess.Popen([sys.executable, "-c", hold, folder], stdin=-1, stdout=-1) as other:
        other.stdout.readline()
        monkeypatch.setattr(nerfstudio_commands, "_LONGEST_GOODBYE", 0.0)
        with pytest.raises(UserError, match="another training is running"):
            trained(tmp_path)
        monkeypatch.setattr(nerfstudio_commands, "_LONGEST_GOODBYE", 60.0)
        monkeypatch.setattr(time, "sleep", lambda _: other.stdin.close())
        trained(tmp_path)
    assert len(asked) == 1
    RunLock.check(folder)


def test_a_child_is_asked_to_end_when_its_starter_is_gone(tmp_path, monkeypatch):
    """Its starter's end of the standard input closes, however that process ended."""
    (tmp_path / "waits.py").write_text("import time; print(flush=True); time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    child = child_command.start("waits", [], stdout=subprocess.PIPE)
    child.stdout.readline()
    assert child.poll() is None
    child.stdin.close()
    assert child.wait(timeout=30) == -signal.SIGTERM
    child.stdout.close()


def test_a_child_does_not_get_the_terminals_ctrl_c(tmp_path, monkeypatch):
    started = []
    begin = subprocess.Popen

    def popen(command, **options):
        started.append(begin([sys.executable, "-c", "import os, sys; sys.exit(os.getsid(0) == int(sys.argv[1]))",
                              str(os.getsid(0))], **options))  # fmt: skip
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    run_command("train", [], tmp_path / "log", "Training")
    assert started[0].returncode == 0, "it has a session of its own"
