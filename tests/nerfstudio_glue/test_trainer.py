"""The trainer's own parts, without a pipeline."""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from nerfstudio_avatars.methods import instant_avatar, unsup_volanim, unsup_volanim_paper
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
    trainer.optimizers = SimpleNamespace(optimizers={}, schedulers={})
    return trainer


def test_without_cuda_it_trains_on_the_cpu_and_says_so_in_a_line(config, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert AvatarTrainer(config).device == config.machine.device_type == "cpu"
    assert capsys.readouterr().out.count("training on the CPU") == 1


def test_schedules_are_as_long_as_the_training(config):
    config.max_num_iterations = 123
    fit_schedules(config)
    assert config.pipeline.model.max_steps == 123
    assert {one["scheduler"].max_steps for one in config.optimizers.values()} == {123}


def test_only_the_latest_checkpoint_stays(trainer):
    for step in (1, 2):
        trainer.save_checkpoint(step)
    assert [file.name for file in trainer.checkpoint_dir.iterdir()] == ["step-000000002.ckpt"]
    assert torch.load(trainer.checkpoint_dir / "step-000000002.ckpt")["step"] == 2


def test_a_failed_save_leaves_the_previous_checkpoint(trainer, monkeypatch):
    trainer.save_checkpoint(1)

    def full(state, file):
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        trainer.save_checkpoint(2)
    assert [file.name for file in trainer.checkpoint_dir.iterdir()] == ["step-000000001.ckpt"]


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
