"""What is told of masks when the training pictures are read, whatever the layout."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from nerfstudio.utils.rich_utils import CONSOLE
from snapshot_folders import FRAMES, SIZE, write_preprocessed, write_raw

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data.people_snapshot import PeopleSnapshotDataParserConfig
from nerfstudio_avatars.instant_avatar.data.prepared_pictures import PreparedPictures
from nerfstudio_avatars.instant_avatar.data.recording import MaskedFrame

MANY = 100


def _empty_raw(folder):
    write_raw(folder)
    (folder / "masks.hdf5").unlink()
    with h5py.File(folder / "masks.hdf5", "w") as file:
        file["masks"] = np.zeros((FRAMES, SIZE, SIZE), np.int8)


def _empty_files(folder):
    write_preprocessed(folder)
    for path in (folder / "masks").iterdir():
        np.save(path, np.zeros((SIZE, SIZE), np.uint8))


@pytest.mark.parametrize("write", [_empty_raw, _empty_files])
def test_masks_that_are_all_empty_are_refused_when_the_pictures_are_read(tmp_path, write):
    write(tmp_path / "one")
    config = PeopleSnapshotDataParserConfig(data=tmp_path / "one", downscale_factor=1, body="standin")
    outputs = config.setup().get_dataparser_outputs("train")
    frames = outputs.metadata["pictures"].source
    with pytest.raises(DataError, match=r"(?s)one\n.*found:.*no pixel.*any of the 6 training frames.*fix:"):
        frames.load(outputs.metadata["pictures"].frames)
    assert frames.load([3]).shape == (1, SIZE, SIZE, 4)  # held out: nothing is said


def _read(masks, training=frozenset(range(MANY)), wanted=range(MANY)):
    def read(frames):
        for frame in frames:
            yield MaskedFrame(np.zeros((4, 4, 3), np.uint8), masks.get(frame, np.eye(4, dtype=np.uint8) * 255))

    with CONSOLE.capture() as told:
        list(PreparedPictures(read, 4, 4, Path("folder"), training, False)(list(wanted)))
    return " ".join(told.get().split())


EMPTY, FULL = np.full((4, 4), 127, np.uint8), np.full((4, 4), 128, np.uint8)


def test_many_masks_that_are_empty_or_full_are_told():
    told = _read({frame: EMPTY for frame in (9, 12, 33, 40, 41, 42)})
    expected = "folder: according to the masks of 100 training frames, 6 show no person (9, 12, 33, 40, 41, ...)."
    assert told.startswith(expected)
    told = _read({1: EMPTY, 2: EMPTY, 3: FULL, 4: FULL, 5: FULL, 6: FULL})
    assert "2 show no person (1, 2) and 4 are person everywhere (3, 4, 5, 6)." in told
    assert "100 are person everywhere" in _read(dict.fromkeys(range(MANY), FULL))


def test_few_are_not_worth_a_word_nor_are_held_out_frames_and_single_ones():
    assert _read({frame: EMPTY for frame in range(5)}) == ""
    assert _read(dict.fromkeys(range(50), EMPTY), frozenset(range(50, MANY))) == ""
    assert _read(dict.fromkeys(range(MANY), EMPTY), wanted=[7]) == ""


def test_only_training_pictures_are_cleaned():
    mask = np.zeros((20, 20), np.uint8)
    mask[2:18, 2:18] = 255
    blue = np.where(mask[..., None] > 0, 100, 200).astype(np.uint8).repeat(3, 2)
    blue[2, 2:18] = 200  # a row of the background, inside the mask

    def read(frames):
        return (MaskedFrame(blue, mask) for _ in frames)

    learned, held_out = PreparedPictures(read, 20, 20, Path("folder"), frozenset({0}), True)([0, 1])
    assert (learned[2, 2:18, :3] == 100).all()
    np.testing.assert_array_equal(held_out[..., :3], blue)
