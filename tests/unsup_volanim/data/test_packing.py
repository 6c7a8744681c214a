"""Packed clips are the same to training as the clips they were packed from, and packing survives being stopped."""

import json
import shutil

import numpy as np
import pytest
import torch

from nerfstudio_avatars.cli import main
from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.unsup_volanim.data import packing
from nerfstudio_avatars.unsup_volanim.data.clip_folders import find_clips, find_picture_clips
from nerfstudio_avatars.unsup_volanim.data.clip_frames import ClipFramesDataManagerConfig
from nerfstudio_avatars.unsup_volanim.data.clip_reader import ClipReader
from nerfstudio_avatars.unsup_volanim.data.clips import Clips
from nerfstudio_avatars.unsup_volanim.data.dataparsers import VoxCelebDataParserConfig
from nerfstudio_avatars.unsup_volanim.data.packing import damaged_clips, pack_clips
from nerfstudio_avatars.unsup_volanim.data.shards import is_packed, packed_clips, read_table

SIZE, SHARD_MB = 24, 1


def shard_files(folder):
    return sorted(folder.glob("*.frames"))


@pytest.fixture
def small_shards(monkeypatch):
    """Two clips fit into a shard."""
    monkeypatch.setattr(packing, "_MEGABYTE", 2 * 16 * SIZE * SIZE * 4)


@pytest.fixture
def packed(head_clips, tmp_path, small_shards):
    tables = [head_clips / "vox-metadata.csv"]
    told = []
    done = pack_clips(find_clips(head_clips), tmp_path / "packed", SIZE, SHARD_MB, tables, lambda *it: told.append(it))
    assert told[-1] == (5, 5) or told[-1][0] == told[-1][1]
    assert done.clips == len(find_clips(head_clips)) and not done.left_out
    return tmp_path / "packed"


def manager(data, **options):
    config = ClipFramesDataManagerConfig(dataparser=VoxCelebDataParserConfig(data=data, image_size=SIZE), **options)
    return config.setup(device="cpu", test_mode="val")


def test_training_gets_the_same_from_shards_as_from_clips(head_clips, packed):
    assert len(shard_files(packed)) > 1
    from_clips, from_shards = manager(head_clips), manager(packed)
    assert [clip.name for clip in from_clips.clips.table] == [clip.name for clip in from_shards.clips.table]
    for field in ("split", "person", "fps", "frames"):
        values = [[getattr(clip, field) for clip in one.clips.table] for one in (from_clips, from_shards)]
        assert values[0] == values[1], field
    assert from_clips.clips.identities == from_shards.clips.identities
    assert from_clips.clips.has_masks == from_shards.clips.has_masks
    for step in (0, 5):
        (_, batch), (_, other) = from_clips.next_train(step), from_shards.next_train(step)
        assert all(torch.equal(batch[name], other[name]) for name in batch)
    first = [one.train_dataset.image_filenames[0].relative_to(folder) for one, folder in
             ((from_clips, head_clips), (from_shards, packed))]  # fmt: skip
    assert first[0].name == first[1].name == "000000.png"


def test_frames_at_random_are_those_of_the_clips(head_clips, packed):
    clips = {clip.name: clip for clip in find_clips(head_clips)}
    parser = VoxCelebDataParserConfig(data=packed, image_size=SIZE).setup()
    table = parser.table_of(find_clips(packed))
    original = VoxCelebDataParserConfig(data=head_clips, image_size=SIZE).setup().table_of(list(clips.values()))
    reader, direct = ClipReader(table, SIZE), ClipReader(original, SIZE)
    for clip, frame in ((3, 7), (0, 15), (4, 0)):
        for ours, theirs in zip(reader.read(clip, frame), direct.read(clip, frame), strict=True):
            assert (ours is None) == (theirs is None)
            assert ours is None or np.array_equal(ours, theirs)
    smaller = ClipReader(table, 12).read(1, 1)[0]
    assert smaller.shape == (12, 12, 3)
    with pytest.raises(DataError, match="no frame 16"):
        reader.read(0, 16)


def test_masks_of_some_frames_are_kept_as_they_are(tmp_path):
    from nerfstudio_avatars.media.picture_files import write_png

    rng = np.random.default_rng(0)
    (tmp_path / "clips" / "a").mkdir(parents=True)
    for frame in range(3):
        rgba = rng.integers(0, 255, (SIZE, SIZE, 4 if frame != 1 else 3), dtype=np.uint8)
        write_png(tmp_path / "clips" / "a" / f"{frame}.png", rgba)
    pack_clips(find_clips(tmp_path / "clips"), tmp_path / "packed", SIZE, 1)
    ((shard, clip),) = packed_clips(tmp_path / "packed")
    assert clip.masked and clip.maskless == (1,)
    table = VoxCelebDataParserConfig(data=tmp_path / "packed").setup().table_of(find_clips(tmp_path / "packed"))
    reader = ClipReader(table, SIZE)
    assert [reader.read(0, frame)[1] is None for frame in range(3)] == [False, True, False]
    assert shard.stat().st_size == 3 * SIZE * SIZE * 4


def test_pictures_are_packed_as_clips_of_one_frame(tmp_path):
    from nerfstudio_avatars.media.picture_files import write_png

    (tmp_path / "pictures" / "train").mkdir(parents=True)
    for number in range(3):
        write_png(tmp_path / "pictures" / "train" / f"{number}.png", np.full((SIZE, SIZE, 3), number, np.uint8))
    main(["pack", str(tmp_path / "pictures"), str(tmp_path / "packed"), "--kind", "pictures", "--size", str(SIZE)])
    found = find_picture_clips(tmp_path / "packed")
    assert [(clip.name, clip.frames, clip.split) for clip in found] == [(str(n), 1, "train") for n in range(3)]


def test_packing_goes_on_where_it_was_stopped(head_clips, tmp_path, small_shards, monkeypatch):
    found, out = find_clips(head_clips), tmp_path / "packed"
    written = []
    write = packing._write_shard

    def stopped(shard, *rest):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(shard.name)
        return write(shard, *rest)

    monkeypatch.setattr(packing, "_write_shard", stopped)
    with pytest.raises(KeyboardInterrupt):
        pack_clips(found, out, SIZE, SHARD_MB)
    assert not is_packed(out) and len(shard_files(out)) == 1
    with pytest.raises(UserError, match="other clips, or clips of another size"):
        pack_clips(found, out, SIZE + 1, SHARD_MB)
    monkeypatch.setattr(packing, "_write_shard", write)
    before = shard_files(out)[0].stat().st_mtime_ns
    assert pack_clips(found, out, SIZE, SHARD_MB).clips == len(found)
    assert shard_files(out)[0].stat().st_mtime_ns == before and is_packed(out)
    assert not (out / "packing.json").exists() and damaged_clips(out) == []
    with pytest.raises(UserError, match="holds packed clips already"):
        pack_clips(found, out, SIZE, SHARD_MB)


def test_a_clip_that_breaks_on_the_way_is_left_out(head_clips, tmp_path, monkeypatch, capsys):
    data = shutil.copytree(head_clips, tmp_path / "clips")
    broken = find_clips(data)[1]
    read = ClipReader.read

    def fails(self, clip, frame):
        if self.table[clip].name == broken.name and frame == 5:
            raise DataError(self.table[clip].path, "a torn frame", "a whole one", "copy it again")
        return read(self, clip, frame)

    monkeypatch.setattr(ClipReader, "read", fails)
    main(["pack", str(data), str(tmp_path / "packed"), "--size", str(SIZE)])
    assert "Left out" in (said := capsys.readouterr().out) and "a torn frame" in said
    assert broken.name not in [clip.name for _, clip in packed_clips(tmp_path / "packed")]


def test_damage_is_found_by_checksum_and_by_size(packed, capsys):
    main(["pack", str(packed), "--check"])
    assert "All checksums fit" in capsys.readouterr().out
    shard = shard_files(packed)[0]
    data = bytearray(shard.read_bytes())
    data[3] ^= 1
    shard.write_bytes(data)
    with pytest.raises(SystemExit):
        main(["pack", str(packed), "--check"])
    assert "1 clips are damaged" in (said := capsys.readouterr().err)
    assert read_table(shard).clips[0].name in said
    shard.write_bytes(data[:-1])
    with pytest.raises(DataError, match="as its table says"):
        find_clips(packed)
    shard.unlink()
    with pytest.raises(DataError, match="no such file"):
        find_clips(packed)


def test_tables_that_were_tampered_with_are_told(packed):
    file = shard_files(packed)[0].with_suffix(".json")
    text = file.read_text()
    for change in ({"kind": "other"}, {"clips": [{}]}, {"clips": 3}):
        file.write_text(json.dumps(json.loads(text) | change))
        with pytest.raises(DataError):
            find_clips(packed)
    content = json.loads(text)
    content["clips"][0]["begin"] = 7
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="out of place"):
        find_clips(packed)


def test_more_pixels_than_were_packed_are_refused(packed):
    parser = VoxCelebDataParserConfig(data=packed, image_size=SIZE + 1).setup()
    with pytest.raises(DataError, match=f"(?s)packed at {SIZE} pixels.*--image-size {SIZE}"):
        parser.get_dataparser_outputs("train")


def test_packed_clips_are_inspected_and_get_no_masks_any_more(packed, capsys):
    main(["inspect", str(packed)])
    assert "voxceleb" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["masks", str(packed)])
    assert "then pack them" in capsys.readouterr().err


def test_a_run_on_shards_is_opened_again(packed):
    clips = manager(packed).clips
    again = Clips.from_state(clips.state(), packed)
    assert again.is_there(0) and torch.equal(again.frame(0, 3), clips.frame(0, 3))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--size", "0"], "--size 0: expected at least 1"),
        (["--shard-mb", "0"], "--shard-mb 0"),
    ],
)
def test_values_that_make_no_sense_are_told(words, said, head_clips, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["pack", str(head_clips), str(tmp_path / "out"), *words])
    assert said in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["pack", str(head_clips)])
    assert "two folders" in capsys.readouterr().err
