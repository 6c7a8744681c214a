"""The trainer's own parts, without a pipeline."""

import subprocess
import sys
from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
import tyro
from torch import nn

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.methods import (
    instant_avatar,
    instant_avatar_cpu,
    unsup_volanim,
    unsup_volanim_paper,
    unsup_volanim_tiny,
)
from nerfstudio_avatars.nerfstudio_glue.trainer import AvatarTrainer, fit_schedules


@pytest.fixture
def config(tmp_path):
    config = deepcopy(instant_avatar.config)
    config.output_dir, config.timestamp, config.data = tmp_path, "now", tmp_path
    config.set_timestamp()
    return config


@pytest.fixture
def trainer(config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    trainer = AvatarTrainer(config)
    trainer.pipeline = nn.Linear(2, 2)
    trainer.pipeline.model = nn.Identity()
    trainer.optimizers = SimpleNamespace(optimizers={}, schedulers={})
    return trainer


def test_without_cuda_it_trains_on_the_cpu_and_says_so_in_a_line(config, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert AvatarTrainer(config).device == config.machine.device_type == "cpu"
    assert capsys.readouterr().out.count("training runs on the CPU") == 1


def test_schedules_are_as_long_as_the_training(config):
    config.max_num_iterations = 123
    fit_schedules(config)
    assert config.pipeline.model.max_steps == 123
    assert {one["scheduler"].max_steps for one in config.optimizers.values()} == {123}


@pytest.mark.parametrize("method", [instant_avatar_cpu, unsup_volanim_tiny])
def test_no_option_is_overwritten_or_does_nothing(method, capsys):
    kind = tyro.conf.SuppressFixed[type(method.config.pipeline.model)]
    with pytest.raises(SystemExit, match="2"):
        tyro.cli(kind, default=method.config.pipeline.model, args=["--max-steps", "7"])
    with pytest.raises(SystemExit, match="0"):
        tyro.cli(kind, default=method.config.pipeline.model, args=["--help"])
    said = capsys.readouterr().out
    assert said.count("rays-per-chunk INT") == 1 and "max-steps" not in said


def test_the_two_latest_checkpoints_stay(trainer):
    for step in (1, 2, 3):
        trainer.save_checkpoint(step)
    names = sorted(file.name for file in trainer.checkpoint_dir.iterdir())
    assert names == ["step-000000002.ckpt", "step-000000003.ckpt"]
    assert torch.load(trainer.checkpoint_dir / names[1])["step"] == 3


def test_weights_that_are_not_finite_are_not_written(trainer, capsys):
    trainer.save_checkpoint(1)
    with torch.no_grad():
        trainer.pipeline.weight[0, 0] = torch.nan
    trainer.save_checkpoint(2)
    assert [file.name for file in trainer.checkpoint_dir.iterdir()] == ["step-000000001.ckpt"]
    assert "not finite" in capsys.readouterr().out


def test_a_second_training_in_the_folder_is_refused_while_the_first_one_runs(config, tmp_path):
    """In a process of its own; when that is killed, nobody has to clean up."""
    code = f"""
import time
from pathlib import Path
from nerfstudio_avatars.nerfstudio_glue.run_lock import RunLock
lock = RunLock(Path({str(config.get_base_dir())!r}))
print("held", flush=True)
time.sleep(60)
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        for begin in (config.save_config, lambda: AvatarTrainer(config)):
            with pytest.raises(UserError, match=f"another training is running in this folder .process {other.pid}"):
                begin()
        assert not (config.get_base_dir() / "config.yml").exists()
    finally:
        other.kill()
        other.wait()
    config.save_config()
    AvatarTrainer(config)._release()
    assert [one.name for one in config.get_base_dir().iterdir()] == ["config.yml"]


@pytest.mark.parametrize(
    ("method", "boundaries"), [(unsup_volanim, (0.0, 0.15, 0.5)), (unsup_volanim_paper, (0.0, 0.5))]
)
def test_rates_begin_anew_where_the_model_s_phases_do(method, boundaries):
    config = deepcopy(method.config)
    if method is unsup_volanim:
        config.pipeline.model.schedule.bootstrap_until = 0.15
    config.pipeline.model.schedule.articulate_from = 0.5
    fit_schedules(config)
    assert config.optimizers["network"]["scheduler"].boundaries == boundaries
