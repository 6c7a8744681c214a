"""Which frames are learned from."""

import copy
import pickle

import pytest
import torch

from nerfstudio_avatars.unsup_volanim.data.clip_table import Clip, ClipTable, HeldOutFrames, frame_rows

TABLE = ClipTable([Clip("a", "/a", 9), Clip("b", "/b", 3), Clip("c", "/c", 17, split="test")])


@pytest.mark.parametrize("interval", [0, 2, 3, 8])
def test_learned_and_held_out_frames_are_all_frames(interval):
    held_out = HeldOutFrames(interval)
    learned, others = (frame_rows(TABLE, [0, 2], held_out, which) for which in (True, False))
    assert sorted(learned.tolist() + others.tolist()) == [[c, f] for c in (0, 2) for f in range(TABLE[c].frames)]
    for clip in (0, 2):
        frames = learned[learned[:, 0] == clip][:, 1].tolist()
        assert frames == [held_out.learned(place) for place in range(len(frames))]
        assert (others[:, 0] == clip).sum() == held_out.count(TABLE[clip].frames)


def test_every_eighth_frame_is_held_out():
    assert frame_rows(TABLE, [0, 1, 2], HeldOutFrames(8), learned=False).tolist() == [[0, 7], [2, 7], [2, 15]]


def test_a_table_can_be_sent_and_is_not_copied():
    assert pickle.loads(pickle.dumps(TABLE)) == TABLE
    assert copy.deepcopy([TABLE])[0] is TABLE
    assert TABLE.of_split("test") == [2] and len(TABLE) == 3 and [clip.name for clip in TABLE] == ["a", "b", "c"]


def test_no_clips_have_no_frames():
    assert torch.equal(frame_rows(TABLE, [], HeldOutFrames(8), True), torch.zeros((0, 2), dtype=torch.long))
