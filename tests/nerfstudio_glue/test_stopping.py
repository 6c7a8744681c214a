"""What ends a training before its end, or nearly: signals, data that are no more there, memory, lost output."""

import shutil
import signal
from pathlib import Path

import pytest
import torch
from nerfstudio.engine.trainer import Trainer
from recorded_training import at_step

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.nerfstudio_glue.checkpoints import checkpoints_in, read_checkpoint
from nerfstudio_avatars.nerfstudio_glue.run_lock import NAME

pytestmark = pytest.mark.slow


@pytest.fixture
def config(person_data, small_person, tmp_path):
    return small_person(person_data, tmp_path, steps=8)


@pytest.fixture
def trainer(config):
    trainer = config.setup()
    trainer.setup()
    return trainer


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_the_training_after_its_step_with_a_checkpoint(name, code, trainer, capfd):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    at_step(trainer, 3, lambda: signal.raise_signal(number))
    with pytest.raises(SystemExit) as end:
        trainer.train()
    assert end.value.code == code and signal.getsignal(number) is before
    (path,) = checkpoints_in(trainer.checkpoint_dir)
    assert read_checkpoint(path).step == 3
    out, err = capfd.readouterr()
    assert f"saved {path}" in out and f"--load-dir {trainer.checkpoint_dir}" in out
    assert "Stopping after this step" in err and "Traceback" not in out + err
    assert not (trainer.base_dir / NAME).exists(), "others may train in the folder"


def test_what_is_not_saved_is_not_called_saved(trainer, capfd):
    def spoil():
        trainer.pipeline.model.poses.frame_correction.data.fill_(torch.nan)
        signal.raise_signal(signal.SIGINT)

    at_step(trainer, 3, spoil)
    with pytest.raises(SystemExit):
        trainer.train()
    out = capfd.readouterr().out
    assert "no checkpoint is written" in out and "saved" not in out and not checkpoints_in(trainer.checkpoint_dir)


def test_a_second_signal_ends_it_at_once(trainer, capfd):
    at_step(trainer, 3, lambda: [signal.raise_signal(signal.SIGINT) for _ in range(2)])
    with pytest.raises(SystemExit) as end:
        trainer.train()
    assert end.value.code == 130 and not checkpoints_in(trainer.checkpoint_dir)
    out, err = capfd.readouterr()
    assert "in the middle of a step, without a checkpoint" in out and "Traceback" not in out + err


def test_control_c_while_data_are_read_ends_it_in_a_line(config, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    trainer = config.setup()
    monkeypatch.setattr(Trainer, "setup", interrupted)
    with pytest.raises(SystemExit) as end:
        trainer.setup()
    assert end.value.code == 130 and "Stopped before the first step" in capsys.readouterr().out
    assert not (trainer.base_dir / NAME).exists()


def test_data_that_vanish_are_named_and_what_was_learnt_is_kept(trainer, tmp_path, capsys):
    gone = tmp_path / "gone.png"
    at_step(trainer, 3, gone.read_bytes)
    with pytest.raises(UserError, match=f"{gone}: No such file or directory"):
        trainer.train()
    assert read_checkpoint(checkpoints_in(trainer.checkpoint_dir)[-1]).step == 2
    assert "--load-dir" in capsys.readouterr().out


@pytest.mark.parametrize("gone", ["all", "pictures"])
def test_clips_that_vanish_are_named_and_what_was_learnt_is_kept(gone, head_clips, small_volanim, tmp_path, capsys):
    data = Path(shutil.copytree(head_clips, tmp_path / "heads"))
    config = small_volanim(data, tmp_path / "runs", steps=8)
    config.pipeline.datamanager.cache_gb = 0
    trainer = config.setup()
    trainer.setup()

    def vanish():
        if gone == "all":
            shutil.rmtree(data)
        for picture in data.rglob("*.png"):
            picture.unlink()

    at_step(trainer, 3, vanish)
    with pytest.raises(UserError, match=str(data)):
        trainer.train()
    assert read_checkpoint(checkpoints_in(trainer.checkpoint_dir)[-1]).step >= 3
    assert "The clip is left out" in capsys.readouterr().out


def test_where_memory_does_not_suffice_for_a_step_the_rest_is_kept_and_a_way_out_told(trainer):
    def full():
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    at_step(trainer, 3, full)
    with pytest.raises(UserError, match="Memory does not suffice.*rays-per-frame"):
        trainer.train()
    assert read_checkpoint(checkpoints_in(trainer.checkpoint_dir)[-1]).step == 2


def test_steps_of_heads_are_taken_in_smaller_pieces(head_clips, small_volanim, tmp_path, capsys):
    trainer = small_volanim(head_clips, tmp_path, steps=4).setup()
    trainer.setup()
    pieces, enough = trainer.pipeline.model.network.config.render, 1 << 12
    losses = trainer.pipeline.get_train_loss_dict

    def in_little_memory(step):
        if step >= 1 and pieces.chunk > enough:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory")
        return losses(step)

    trainer.pipeline.get_train_loss_dict = in_little_memory
    trainer.train()
    assert read_checkpoint(checkpoints_in(trainer.checkpoint_dir)[-1]).step == 3 and pieces.chunk == enough
    assert capsys.readouterr().out.count("Memory does not suffice") == 1


def test_an_output_that_nobody_takes_ends_the_training_with_a_checkpoint(trainer, monkeypatch):
    """`ns-train ... | head -1`."""
    gone = OSError(32, "Broken pipe", "standard output")
    monkeypatch.setattr("nerfstudio_avatars.nerfstudio_glue.trainer.lost_output", lambda error: gone)

    def print_to_nobody():
        raise BrokenPipeError(32, "Broken pipe")

    at_step(trainer, 3, print_to_nobody)
    with pytest.raises(UserError, match="standard output: Broken pipe"):
        trainer.train()
    assert read_checkpoint(checkpoints_in(trainer.checkpoint_dir)[-1]).step == 2
