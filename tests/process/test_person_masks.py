"""Masks for clips of people that come without any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.process import person_masks
from nerfstudio_avatars.process.person_masks import SIDE, PersonSegmenter, write_person_masks
from nerfstudio_avatars.unsup_volanim.data.clip_folders import find_clips, find_picture_clips

HEADS = Path(__file__).parents[3] / "shared" / "data" / "heads"


class LeftHalf:
    """Stands for the network: the left half is the person."""

    def __call__(self, picture):
        mask = np.zeros(picture.shape[:2], np.uint8)
        mask[:, : SIDE // 2] = 255
        return mask


@pytest.fixture
def clips(tmp_path):
    for split, name in (("train", "id1#a#0#3"), ("test", "id2#b#0#2")):
        folder = tmp_path / split / name
        folder.mkdir(parents=True)
        for frame in range(int(name[-1])):
            Image.fromarray(np.full((48, 48, 3), 40 * frame, np.uint8)).save(folder / f"{frame:07d}.png")
    return tmp_path


def test_every_frame_of_every_clip_gets_a_mask_where_the_dataparser_looks(clips, monkeypatch):
    monkeypatch.setattr(person_masks, "PersonSegmenter", LeftHalf)
    assert write_person_masks(clips) == 5
    found = {clip.name: clip for clip in find_clips(clips)}
    assert [found[name].mask for name in ("id1#a#0#3", "id2#b#0#2")] == [
        clips / "masks" / "train" / "id1#a#0#3",
        clips / "masks" / "test" / "id2#b#0#2",
    ]
    mask = np.asarray(Image.open(found["id1#a#0#3"].mask / "0000001.png"))
    assert mask.shape == (SIDE, SIDE) and (mask[:, : SIDE // 2] == 255).all() and not mask[:, SIDE // 2 :].any()


def test_masks_have_the_names_of_their_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(person_masks, "PersonSegmenter", LeftHalf)
    (tmp_path / "anna").mkdir()
    for name in ("b.png", "a9.jpg", "a10.jpg"):
        Image.fromarray(np.zeros((48, 48, 3), np.uint8)).save(tmp_path / "anna" / name)
    assert write_person_masks(tmp_path) == 3
    assert all(clip.mask == tmp_path / "masks" / f"{clip.name}.png" for clip in find_picture_clips(tmp_path))


def test_masks_that_are_there_are_kept(clips, monkeypatch):
    monkeypatch.setattr(person_masks, "PersonSegmenter", LeftHalf)
    write_person_masks(clips)
    assert write_person_masks(clips) == 0


def test_a_failure_leaves_no_half_written_masks(clips, monkeypatch):
    class Fails:
        def __call__(self, picture):
            raise OSError("disk full")

    monkeypatch.setattr(person_masks, "PersonSegmenter", Fails)
    with pytest.raises(UserError, match="disk full.*nothing was written"):
        write_person_masks(clips)
    assert not [path for path in (clips / "masks").rglob("*") if path.is_file() or ".partial" in path.name]


def test_without_clips_it_says_what_it_expects(tmp_path):
    with pytest.raises(DataError, match="videos"):
        write_person_masks(tmp_path)


@pytest.mark.skipif(not HEADS.is_dir(), reason="the real heads are not here")
def test_a_talking_head_is_told_from_its_background():
    pytest.importorskip("ai_edge_litert")
    from nerfstudio_avatars.unsup_volanim.data.loose_clip import read_loose_clip

    picture = read_loose_clip(sorted(HEADS.glob("*.mp4"))[0], SIDE)[0][0].numpy()
    mask = PersonSegmenter()(picture)
    assert mask[SIDE // 2, SIDE // 2] > 250, "the face"
    assert mask[:20, :20].mean() < 20 or mask[:20, -20:].mean() < 20, "an upper corner"
    assert 0.2 < (mask > 127).mean() < 0.9
