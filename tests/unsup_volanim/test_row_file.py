"""Rows in a file: what checkpoints refer to stays as it was, whatever is written later."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.nerfstudio_glue.checkpoints import write_checkpoint
from nerfstudio_avatars.unsup_volanim.row_file import NAME, SLOTS, RowFile

LENGTH = 5


def rows_of(numbers, seed):
    return np.random.default_rng(seed).normal(size=(len(numbers), LENGTH)).astype(np.float32)


def everything(file):
    return file.read(np.arange(len(file.slots)))


def saved(file, run, step):
    """A checkpoint that refers to the rows, as the trainer writes it."""
    names = [one.name for one in (run / "nerfstudio_models").glob("*.ckpt")]
    file.let_go(names)
    file.hold(f"step-{step:09d}.ckpt")
    file.sync()
    state = {"step": step, "pipeline": {f"_model.{SLOTS}": {"slots": torch.from_numpy(file.slots.copy())}}}
    (run / "nerfstudio_models").mkdir(parents=True, exist_ok=True)
    return write_checkpoint(run / "nerfstudio_models", step, state, only_latest=True)


def resumed(checkpoint, run):
    """As after the process was killed."""
    state = torch.load(checkpoint, weights_only=True)
    file = RowFile(20_000, LENGTH)
    file.keep_in(run)
    file.refer(state["pipeline"][f"_model.{SLOTS}"]["slots"].numpy())
    file.take_from(checkpoint)
    return file


def test_rows_never_written_are_zeros_and_take_no_room(tmp_path):
    file = RowFile(20_000, LENGTH)
    file.keep_in(tmp_path)
    file.write(np.array([7, 19_999]), rows_of(range(2), 0))
    assert (tmp_path / NAME).stat().st_size == 2 * LENGTH * 4
    read = file.read(np.array([19_999, 3, 7]))
    np.testing.assert_array_equal(read[[2, 0]], rows_of(range(2), 0))
    assert not read[1].any()
    np.testing.assert_array_equal(file.read(np.array([7]), 2), read[2:, :2])


def test_any_checkpoint_finds_its_rows_after_the_process_was_killed_at_any_moment(tmp_path):
    """Against a plain array that is copied at each checkpoint."""
    draw, truth, kept = np.random.default_rng(1), np.zeros((20_000, LENGTH), np.float32), {}
    file = RowFile(20_000, LENGTH)
    file.keep_in(tmp_path)
    for step in range(60):
        numbers = draw.choice(12, 4, replace=False)
        truth[numbers] = rows_of(numbers, step)
        file.write(numbers, truth[numbers])
        if step % 7 == 0:
            kept[step] = saved(file, tmp_path, step), truth.copy()
        if step in (24, 45):  # Killed; goes on from the last checkpoint, or the one before it.
            checkpoint, truth = kept[21 if step == 24 else 35]
            file, truth = resumed(checkpoint, tmp_path), truth.copy()
            np.testing.assert_array_equal(everything(file), truth)
    latest = [pair for pair in kept.values() if pair[0].exists()]
    assert len(latest) == 2, "two checkpoints are kept"
    for checkpoint, expected in latest:
        np.testing.assert_array_equal(everything(resumed(checkpoint, tmp_path)), expected)
    # 12 rows of the present, of two checkpoints, and of one that was being written.
    assert (tmp_path / NAME).stat().st_size <= 4 * 12 * LENGTH * 4


def test_another_run_takes_a_copy(tmp_path):
    first = RowFile(20_000, LENGTH)
    first.keep_in(tmp_path / "first")
    first.write(np.array([5, 9, 4]), rows_of(range(3), 0))
    first.write(np.array([9]), rows_of(range(1), 1))
    checkpoint = saved(first, tmp_path / "first", 3)
    second = resumed(checkpoint, tmp_path / "second")
    np.testing.assert_array_equal(everything(second), everything(first))
    second.write(np.array([5]), rows_of(range(1), 2))
    np.testing.assert_array_equal(everything(resumed(checkpoint, tmp_path / "first")), everything(first))


def test_a_file_that_has_gone_or_is_cut_off_is_named(tmp_path):
    file = RowFile(20_000, LENGTH)
    file.keep_in(tmp_path)
    file.write(np.array([5, 9]), rows_of(range(2), 0))
    checkpoint = saved(file, tmp_path, 3)
    with (tmp_path / NAME).open("r+b") as cut:
        cut.truncate(LENGTH * 4)
    with pytest.raises(DataError, match=r"detail\.rows[\s\S]*20 bytes[\s\S]*2 identities"):
        resumed(checkpoint, tmp_path)
    (tmp_path / NAME).unlink()
    with pytest.raises(DataError, match="no such file"):
        resumed(checkpoint, tmp_path)
