"""A source that counts its readings."""

import copy
import pickle

import numpy as np

from nerfstudio_avatars.instant_avatar.data.frame_source import FrameSource


class Reader:
    def __init__(self):
        self.asked = []

    def __call__(self, frames):
        self.asked.append(list(frames))
        for frame in frames:
            yield np.full((2, 3, 4), frame, np.uint8)


def test_pictures_come_in_the_order_asked_for_and_are_read_in_rising_order():
    reader = Reader()
    shown = FrameSource(reader, 2, 3).load([5, 2, 5])
    assert shown[:, 0, 0, 0].tolist() == [5, 2, 5]
    assert reader.asked == [[2, 5]]


def test_pictures_are_read_once_even_through_copies():
    reader = Reader()
    source = FrameSource(reader, 2, 3)
    assert copy.deepcopy({"frames": source})["frames"].load([1, 2]) is source.load([1, 2])
    assert len(reader.asked) == 1


def test_a_pickled_source_leaves_the_pictures_behind():
    source = FrameSource(Reader(), 2, 3)
    source.load([1])
    assert pickle.loads(pickle.dumps(source))._blocks == {}
