"""Batches: fair, reproducible, and the same whatever number of processes shares them."""

from collections import Counter

import numpy as np
import pytest

from nerfstudio_avatars.unsup_volanim.data.clip_sampler import BatchSize, ClipSampler
from nerfstudio_avatars.unsup_volanim.data.clip_table import Clip, ClipTable, HeldOutFrames

LENGTHS = [20, 7, 33, 12, 9]


def sampler(identity_of_clip=(0, 1, 2, -1, 3), identities=2, frames=4, seed=1, interval=8):
    table = ClipTable([Clip(str(number), "", length) for number, length in enumerate(LENGTHS)])
    return ClipSampler(table, list(identity_of_clip), HeldOutFrames(interval), BatchSize(identities, frames), seed)


def test_rows_of_an_identity_stand_together_and_show_different_learned_frames():
    draw = sampler()
    for step in range(40):
        identity, clip, frame = draw.rows(step).T
        assert len(set(identity[:4])) == len(set(identity[4:])) == 1 and identity[0] != identity[4]
        assert [(0, 1, 2, 4)[number] for number in identity] == clip.tolist()
        assert len({*zip(identity, frame, strict=True)}) == 8
        assert (frame % 8 != 7).all() and (frame < np.array(LENGTHS)[clip]).all() and (frame >= 0).all()


def test_all_learned_frames_come_up_equally_often():
    draw = sampler((0, -1, -1, -1, -1), frames=1)
    seen = Counter(int(draw.rows(step)[0, 2]) for step in range(18 * 60))
    assert set(seen) == {frame for frame in range(20) if frame % 8 != 7}
    assert min(seen.values()) > 30 and max(seen.values()) < 100


def test_clips_of_a_person_share_by_their_length():
    draw = sampler((0, 1, 0, -1, 0), identities=1, frames=8, interval=0)
    rows = np.concatenate([draw.rows(step) for step in range(400)])
    seen = Counter(rows[rows[:, 0] == 0][:, 1].tolist())
    assert set(seen) == {0, 2, 4}
    for clip in seen:
        assert seen[clip] / sum(seen.values()) == pytest.approx(LENGTHS[clip] / 62, abs=0.04)


@pytest.mark.parametrize("identities", [2, 3])
def test_every_identity_comes_in_every_pass_and_none_twice_in_a_step(identities):
    draw = sampler(identities=identities)
    steps = -(-4 // identities)
    for start in range(0, 10 * steps, steps):
        batches = [draw.rows(step)[::4, 0].tolist() for step in range(start, start + steps)]
        assert {one for batch in batches for one in batch} == {0, 1, 2, 3}
        assert all(len(set(batch)) == identities for batch in batches)


def test_a_step_draws_the_same_whenever_it_is_asked_for():
    going_on = sampler()
    rows = [going_on.rows(step).tolist() for step in range(20)]
    assert [sampler().rows(step).tolist() for step in (17, 3, 0)] == [rows[17], rows[3], rows[0]]
    assert rows[3] != rows[5] != sampler(seed=2).rows(5).tolist()


def test_processes_share_the_very_step_of_one():
    whole = sampler(identities=4)
    for step in range(12):
        parts = [sampler(identities=4).rows(step, rank, 2) for rank in (0, 1)]
        assert [len(part) for part in parts] == [8, 8]
        assert sorted(np.concatenate(parts).tolist()) == sorted(whole.rows(step).tolist())
        np.testing.assert_array_equal(parts[1], whole.rows(step).reshape(4, 4, 3)[1::2].reshape(8, 3))


def test_short_clips_repeat_frames_and_few_identities_make_small_steps():
    table = ClipTable([Clip("a", "", 1)])
    draw = ClipSampler(table, [0], HeldOutFrames(8), BatchSize(2, 4), 0)
    assert draw.rows(5).tolist() == [[0, 0, 0]] * 4
