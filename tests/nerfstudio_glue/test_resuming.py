"""A training in pieces does the very steps of a training in one go, bit for bit, whatever ended it between."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from recorded_training import losses_of

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.nerfstudio_glue.checkpoints import checkpoints_in, read_checkpoint, step_of
from nerfstudio_avatars.nerfstudio_glue.random_state import random_state, restore_random_state

STEPS, LAST_DONE = 24, 11
TRAIN = """
import sys
from pathlib import Path
from nerfstudio.scripts.train import train_loop
from nerfstudio_avatars.avatars.run import our_methods
from nerfstudio_avatars.nerfstudio_glue.config_file import read_trainer_config
train_loop(0, 1, read_trainer_config(Path(sys.argv[1]), our_methods()))
"""


@pytest.fixture
def build(request, person_data, head_clips):
    """`build(method, output)`: a small training that saves after each step, and looks at held-out pictures."""

    def build(method, output):
        data, name = (person_data, "small_person") if method == "person" else (head_clips, "small_volanim")
        config = request.getfixturevalue(name)(data, output, steps=STEPS)
        config.steps_per_save, config.save_only_latest_checkpoint, config.steps_per_eval_image = 1, False, 5
        return config

    return build


def seed_everything(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def last_state(trainer):
    """The last checkpoint of a training."""
    state = read_checkpoint(checkpoints_in(trainer.checkpoint_dir)[-1]).state
    # What checks types while tests run draws from these too.
    state["random"].pop("python")
    return state


def assert_same(ours, theirs, place="checkpoint"):
    """Compares what two checkpoints hold, bit for bit."""
    if isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs), place
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), place
        for key in ours:
            assert_same(ours[key], theirs[key], f"{place}, {key}")
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs), place
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(one, other, f"{place}, {number}")
    else:
        assert ours == theirs, place


@pytest.mark.slow
@pytest.mark.parametrize("method", ["person", "heads"])
def test_what_is_resumed_is_the_same_bit_for_bit(method, build, tmp_path):
    """Weights, optimizers, schedules, random numbers and the order of frames."""
    seed_everything(42)
    expected, trainer = losses_of(build(method, tmp_path / "whole"))
    config = build(method, tmp_path / "resumed")
    config.load_dir, config.load_step = trainer.checkpoint_dir, LAST_DONE
    seed_everything(7)
    resumed, again = losses_of(config)
    assert resumed == {step: losses for step, losses in expected.items() if step > LAST_DONE}
    assert_same(last_state(trainer), last_state(again))


def test_random_numbers_of_every_kind_go_on_where_they_were():
    def drawn():
        return random.random(), float(np.random.normal()), float(torch.randn(()))

    seed_everything(3)
    drawn()
    state = random_state()
    expected = [drawn() for _ in range(3)]
    seed_everything(4)
    restore_random_state(state)
    assert [drawn() for _ in range(3)] == expected


def test_a_checkpoint_of_another_method_or_of_other_sizes_is_refused_with_both_named(
    person_data, small_person, person_config, volanim_config, tmp_path
):
    config = small_person(person_data, tmp_path)
    config.load_dir = volanim_config.parent / "nerfstudio_models"
    with pytest.raises(UserError, match=r"unsup-volanim-tiny\).*this training's instant-avatar-cpu"):
        config.setup().setup()
    config.load_dir = person_config.parent / "nerfstudio_models"
    config.pipeline.model.avatar.cell_size = 0.05
    config.pipeline.model.avatar.field.log2_table_size -= 1
    with pytest.raises(UserError, match=r"table` \(\d+, 2\) instead of \(\d+, 2\)"):
        config.setup().setup()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_training_killed_while_it_writes_a_checkpoint_goes_on_from_the_last_whole_one(build, tmp_path):
    """As a folder does that holds nothing else. Not compared with a training in one go: whether a process compiled
    its kernels or found them on disk moves the last bits, as the order in which they were compiled does."""
    config = build("person", tmp_path / "killed")
    config.save_only_latest_checkpoint = True
    config.save_config()
    folder, models = config.get_base_dir(), config.get_checkpoint_dir()
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", TRAIN, str(folder / "config.yml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while len(checkpoints_in(models)) < 2:
            assert process.poll() is None, process.communicate()[1][-2000:]
            time.sleep(0.001)
        stop_while(process, lambda: list(folder.glob(".step-*")))
    finally:
        process.kill()
        process.communicate()
    assert list(folder.glob(".step-*")), "it was killed in the middle"
    killed_after = step_of(checkpoints_in(models)[-1])
    assert killed_after < STEPS - 1
    undisturbed = build("person", tmp_path / "undisturbed")
    undisturbed.load_dir = tmp_path / "whole checkpoint"
    undisturbed.load_dir.mkdir()
    shutil.copy(checkpoints_in(models)[-1], undisturbed.load_dir)
    config.load_dir = models
    seed_everything(7)
    resumed, trainer = losses_of(config)
    seed_everything(8)
    expected, other = losses_of(undisturbed)
    assert list(resumed) == list(range(killed_after + 1, STEPS)) and resumed == expected
    assert_same(last_state(trainer), last_state(other))
    assert not list(folder.glob(".step-*")), "what was left half-written is gone"
    assert [step_of(one) for one in checkpoints_in(models)] == [STEPS - 2, STEPS - 1]


def stop_while(process, true):
    """Stops a process at a moment when something is true of it."""
    while True:
        while not true():
            assert process.poll() is None, "it ended first"
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        if true():
            return
        process.send_signal(signal.SIGCONT)
