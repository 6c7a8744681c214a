"""The dataparser against folders as VoxCeleb's preprocessing writes them, and against what users get wrong."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from clip_files import number_of, numbered, write_folder, write_mask, write_video

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.unsup_volanim.data.clip_metadata import clip_key, ted_talk, voxceleb_person
from nerfstudio_avatars.unsup_volanim.data.clip_reader import ClipReader
from nerfstudio_avatars.unsup_volanim.data.dataparsers import (
    ImageFoldersDataParserConfig,
    TedxPeopleDataParserConfig,
    VoxCelebDataParserConfig,
)

HEADS = Path(__file__).parents[4] / "shared" / "data" / "heads"
HEADER = "video_id,start,end,bbox,fps,width,height,partition,person_id\n"
ANNA, ANNA_2 = "id1#abc#000010#000030", "id1#x-_y#000000#000009"
BEN, CARL = "id2#def#000000#000017", "id3#ghi#000005#000025"


def parse(root, split="train", **options):
    return VoxCelebDataParserConfig(data=root, image_size=32, **options).setup().get_dataparser_outputs(split)


def write_flat(root):
    write_folder(root / ANNA, 20)
    write_folder(root / f"{ANNA_2}.mp4", 9)  # a folder, as the original names them
    write_video(root / f"{BEN}.mp4", 17)
    write_video(root / f"{CARL}.gif", 20, codec="gif", pix_fmt="rgb8", options={})
    return root


def write_split(root):
    write_folder(root / "train" / ANNA, 20)
    write_video(root / "train" / f"{BEN}.mp4", 17)
    write_video(root / "test" / f"{CARL}.mp4", 20)
    return root


def shown(outputs):
    reader = ClipReader(outputs.metadata["clips"].table, outputs.metadata["clips"].size)
    return [number_of(reader.read(clip, frame)[0]) for clip, frame in outputs.metadata["rows"].tolist()]


def test_splits_are_learned_and_held_out_frames_and_other_people(tmp_path):
    train, val, test = (parse(write_split(tmp_path), split) for split in ("train", "val", "test"))
    assert train.metadata["clips"].identities == [ANNA, BEN]
    assert train.metadata["clips"].identity_of_clip == [0, 1, -1]
    assert val.metadata["rows"].tolist() == [[0, 7], [0, 15], [1, 7], [1, 15]]
    assert test.metadata["rows"].tolist() == [[2, frame] for frame in range(20)]
    assert len(train.cameras) == len(train.image_filenames) == 37 - 4
    for outputs in (train, val, test):
        assert shown(outputs) == outputs.metadata["rows"][:, 1].tolist()
        assert torch.equal(outputs.cameras.metadata["frame"], outputs.metadata["rows"][:, 1:])
        assert outputs.metadata["clips"] == train.metadata["clips"]
    assert train.metadata["clips"].size == 32 and train.metadata["clips"].held_out.interval == 8
    assert train.metadata["clips"].has_masks is False
    clip = train.metadata["clips"].table[1]
    assert (clip.name, clip.person, clip.frames, clip.fps, clip.split) == (BEN, "id2", 17, 25.0, "train")


def test_it_is_said_how_many_are_held_out(tmp_path, capsys):
    parse(write_split(tmp_path))
    said = " ".join(capsys.readouterr().out.split())
    assert "2 clips to train on, and 1 of people who are held out" in said


def test_names_of_frames_are_unique_and_made_when_asked_for(tmp_path):
    names = parse(write_split(tmp_path)).image_filenames
    assert len(set(names)) == len(names) == 33
    assert names[-1] == tmp_path / "train" / BEN / "000016.png" == names[-2:][1]
    assert os.path.commonpath(names) == str(tmp_path / "train")


def test_clips_of_any_kind_lie_together(tmp_path):
    outputs = parse(write_flat(tmp_path), test_share=0)
    assert [clip.name for clip in outputs.metadata["clips"].table] == [ANNA, ANNA_2, BEN, CARL]
    assert [clip.frames for clip in outputs.metadata["clips"].table] == [20, 9, 17, 20]
    assert shown(outputs) == outputs.metadata["rows"][:, 1].tolist()


def test_a_persons_clips_can_share_an_identity(tmp_path):
    facts = parse(write_flat(tmp_path), test_share=0, identity="person").metadata
    assert facts["clips"].identities == ["id1", "id2", "id3"]
    assert facts["clips"].identity_of_clip == [0, 0, 1, 2]


def test_any_name_will_do(tmp_path):
    write_video(tmp_path / "me on holiday.mov", 5)
    write_folder(tmp_path / "2#3²", 4)
    facts = parse(tmp_path, test_share=0, identity="person").metadata
    assert facts["clips"].identities == ["2#3²", "me on holiday"]


def test_folders_of_clips_are_persons(tmp_path):
    for name in ("anna/first", "anna/second", "ben/first"):
        write_folder(tmp_path / "train" / name, 4)
    facts = parse(tmp_path, identity="person").metadata
    assert facts["clips"].identities == ["anna", "ben"]
    assert [clip.name for clip in facts["clips"].table] == ["anna/first", "anna/second", "ben/first"]


def test_the_published_table_says_who_is_held_out(tmp_path):
    rows = ["abc,10,30,1-2-3-4,29.97,640,360,train,id1", "x-_y,0,9,1-2-3-4,25.0,640,360,train,id1"]
    rows += ["def,0,17,1-2-3-4,25.0,640,360,test,id2", "gone,0,17,1-2-3-4,25.0,640,360,test,id9"]
    (tmp_path / "vox-metadata.csv").write_text(HEADER + "\n".join(rows) + "\n")
    table = parse(write_flat(tmp_path), test_share=0).metadata["clips"].table
    assert {clip.name: clip.split for clip in table} == {ANNA: "train", ANNA_2: "train", BEN: "test", CARL: "train"}
    assert {clip.name: clip.fps for clip in table}[ANNA] == 29.97


def test_names_decide_who_is_held_out_and_newcomers_change_nothing(tmp_path):
    for person in range(30):
        for number in range(2):
            write_folder(tmp_path / f"id{person}#v#{number}#2", 1, size=8)
    before = parse(tmp_path, test_share=0.3).metadata
    write_folder(tmp_path / "id007#v#0#2", 1, size=8)
    after = parse(tmp_path, test_share=0.3).metadata
    split = {clip.name: clip.split for clip in after["clips"].table}
    assert all(split[clip.name] == clip.split for clip in before["clips"].table)
    assert set(before["clips"].identities) <= set(after["clips"].identities)
    assert 8 <= sum(one == "test" for one in split.values()) <= 28
    assert all(split[f"id{person}#v#0#2"] == split[f"id{person}#v#1#2"] for person in range(30))


def test_people_can_be_held_out_by_name(tmp_path):
    table = parse(write_flat(tmp_path), test_names=("id1", CARL)).metadata["clips"].table
    assert [clip.name for clip in table if clip.split == "test"] == [ANNA, ANNA_2, CARL]
    with pytest.raises(DataError, match="no person or clip id7"):
        parse(tmp_path, test_names=("id7",))


def test_evaluation_is_limited_and_spread(tmp_path):
    rows = parse(write_split(tmp_path), "test", max_eval_frames=5).metadata["rows"]
    assert rows[:, 1].tolist() == [0, 5, 10, 14, 19]
    assert len(parse(tmp_path, eval_frame_interval=0).cameras) == 37
    assert parse(tmp_path, "val", eval_frame_interval=0).metadata["rows"].tolist() == [[0, 0], [1, 0]]


@pytest.mark.parametrize("place", ["masks/train", "masks"])
def test_masks_lie_beside_the_clips(tmp_path, place):
    write_mask(write_split(tmp_path) / place / ANNA / "0000003.png")
    outputs = parse(tmp_path)
    assert outputs.metadata["clips"].has_masks
    reader = ClipReader(outputs.metadata["clips"].table, 32)
    assert reader.read(0, 3)[1].any() and reader.read(0, 4)[1] is None and reader.read(1, 3)[1] is None


def test_a_mask_video_has_as_many_frames_as_its_clip(tmp_path):
    write_video(write_split(tmp_path) / "masks" / f"{BEN}.mp4", 17)
    assert parse(tmp_path).metadata["clips"].table[1].mask == str(tmp_path / "masks" / f"{BEN}.mp4")
    write_video(tmp_path / "masks" / f"{BEN}.mp4", 16)
    with pytest.raises(DataError, match="16 frames"):
        parse(tmp_path)


def test_clips_without_masks_beside_others_are_told_of(tmp_path, capsys):
    for name in ("a", "b"):
        write_folder(tmp_path / name, 2)
        write_folder(tmp_path / "masks" / name, 2)
    assert parse(tmp_path, test_share=0).metadata["clips"].has_masks
    assert "have masks" not in capsys.readouterr().out
    shutil.rmtree(tmp_path / "masks" / "a")
    assert parse(tmp_path, test_share=0).metadata["clips"].has_masks
    assert "1 of 2 clips have masks" in " ".join(capsys.readouterr().out.split())


def test_transparent_frames_are_masks(tmp_path):
    folder = write_folder(tmp_path / "a", 3)
    alpha = np.tile(np.uint8([0, 255]), (64, 32))
    cv2.imwrite(str(folder / "0000000.png"), np.dstack([numbered(0), alpha]))
    assert parse(tmp_path, test_share=0).metadata["clips"].has_masks


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda root: None, "nothing"),
        (lambda root: (root / "train" / "empty").mkdir(parents=True), "no pictures in it"),
        (lambda root: (root / "a.mp4").write_bytes(b"no video"), "a.mp4"),
        (lambda root: write_folder(root, 2), "a folder of its own, or use the dataparser image-folders"),
        (lambda root: (write_folder(root / "a", 2), write_video(root / "a.mp4", 2)), "2 clips of the name a"),
        (lambda root: write_folder(root / "test" / "a", 2), "only clips that are held out"),
        (lambda root: (write_folder(root / "a", 2), (root / "vox-metadata.csv").write_text("a,b\n")), "columns a, b"),
        (
            lambda root: (write_folder(root / "a", 2), (root / "vox-metadata.csv").write_text(HEADER + "a,0,0,b,fast")),
            "fast",
        ),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, write, message):
    write(tmp_path)
    with pytest.raises(DataError, match=message):
        parse(tmp_path)


def test_settings_that_make_no_sense_are_refused(tmp_path):
    write_folder(tmp_path / "a", 2)
    with pytest.raises(DataError, match="eval-frame-interval 1"):
        parse(tmp_path, eval_frame_interval=1)
    with pytest.raises(DataError, match="image-size 0"):
        VoxCelebDataParserConfig(data=tmp_path, image_size=0).setup().get_dataparser_outputs()
    with pytest.raises(DataError, match="no such folder"):
        parse(tmp_path / "nowhere")
    with pytest.raises(DataError, match="nowhere.csv"):
        parse(tmp_path, metadata=tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="never trained on"):
        parse(tmp_path, "test", test_share=0)


@pytest.mark.skipif(not HEADS.is_dir(), reason="the real heads are not here")
def test_real_heads_parse():
    outputs = parse(HEADS, test_share=0)
    table = outputs.metadata["clips"].table
    assert len(table) == 12 and sum(clip.frames for clip in table) == 78 + 11 * 160
    assert len({clip.person for clip in table}) == 12 and {clip.fps for clip in table} == {25.0}
    rgb, mask = ClipReader(table, 32).read(5, 80)
    assert rgb.std() > 10 and mask is None


def test_some_of_the_clips_are_trained_on(tmp_path):
    for number in range(6):
        write_folder(tmp_path / "train" / f"clip{number}", 3)
    write_folder(tmp_path / "test" / "other", 3)
    first, again = (parse(tmp_path, max_videos=2).metadata for _ in range(2))
    assert len(first["clips"].identities) == 2 and first["clips"].identities == again["clips"].identities
    assert [clip.name for clip in first["clips"].table if clip.split == "test"] == ["other"]
    assert len(parse(tmp_path, max_videos=9).metadata["clips"].identities) == 6
    with pytest.raises(DataError, match="--max-videos 0"):
        parse(tmp_path, max_videos=0)


TALKS_HEADER = "video_id,start,end,bbox,fps,width,height,partition\n"


def parse_talks(root, **options):
    config = TedxPeopleDataParserConfig(data=root, image_size=16, test_share=0, **options)
    return config.setup().get_dataparser_outputs().metadata["clips"]


@pytest.mark.parametrize(
    "row", ["a-talk#10#300,0,0,1-2-3-4,10.0,1280,720,train", "a-talk,10,300,1-2-3-4,10.0,1280,720,train"]
)
@pytest.mark.parametrize("name", ["a-talk#000010#000300", "a-talk#10#300", "a-talk#10#300#000000#000000"])
def test_a_clip_is_found_in_the_table_with_its_range_in_either_place(tmp_path, name, row):
    write_folder(tmp_path / name, 4)
    write_video(tmp_path / "other#0#200.mp4", 4)
    (tmp_path / "ted-metadata.csv").write_text(TALKS_HEADER + row.replace("10.0", "12.5") + "\n")
    clips = {clip.name: clip for clip in parse_talks(tmp_path).table}
    assert (clips[name].fps, clips[name].person, clips[name].split) == (12.5, "a-talk", "train")
    assert (clips["other#0#200"].fps, clips["other#0#200"].person) == (25.0, "other")


def test_clips_of_a_talk_are_one_person(tmp_path):
    for name in ("a#0#9", "a#10#19", "b#0#9"):
        write_folder(tmp_path / "train" / name, 3)
    assert parse_talks(tmp_path, identity="person").identities == ["a", "b"]
    assert parse_talks(tmp_path).identities == ["a#0#9", "a#10#19", "b#0#9"]
    assert {clip.fps for clip in parse_talks(tmp_path).table} == {10.0}


def test_talks_can_be_joined_in_folders(tmp_path):
    for talk in ("a-b_c", "d"):
        write_folder(tmp_path / "train" / talk, 3)
    assert parse_talks(tmp_path, identity="person").identities == ["a-b_c", "d"]


def test_names_are_read_by_their_parts():
    assert voxceleb_person("id1#v#0#5") == "id1"
    assert voxceleb_person("id1#v#5") is voxceleb_person("holiday") is voxceleb_person("a#b#c#d") is None
    assert ted_talk("v#0#5") == ted_talk("v#0#5#000000#000000") == "v"
    assert ted_talk("v") is ted_talk("v#x#y") is None
    assert clip_key("id1#v#0#0") == ("id1", "v", 0, 0)


def parse_pictures(root, split="train", **options):
    config = ImageFoldersDataParserConfig(data=root, image_size=16, **({"test_share": 0} | options))
    return config.setup().get_dataparser_outputs(split)


@pytest.mark.parametrize("folder", ["", "train", "train/cats"])
def test_every_picture_is_an_identity(tmp_path, folder):
    write_folder(tmp_path / folder, 12, name="cat{}.png")
    outputs = parse_pictures(tmp_path)
    table = outputs.metadata["clips"].table
    assert len(outputs.metadata["clips"].identities) == len(table) == len(outputs.cameras) == 12
    reader = ClipReader(table, 16)
    for number, clip in enumerate(table):
        assert clip.name.endswith(f"cat{number_of(reader.read(number, 0)[0])}")
        assert outputs.image_filenames[number].is_file()
    assert parse_pictures(tmp_path, "val").metadata["rows"].tolist() == outputs.metadata["rows"].tolist()


def test_folders_of_one_picture_each_are_told_apart_by_the_folder(tmp_path):
    for name in ("tom", "kitty"):
        write_folder(tmp_path / "train" / name, 1)
    write_folder(tmp_path / "test" / "felix", 1)
    outputs = parse_pictures(tmp_path)
    assert outputs.metadata["clips"].identities == ["kitty/0000000", "tom/0000000"]
    assert len(parse_pictures(tmp_path, "test").cameras) == 1


def test_masks_lie_under_the_same_names(tmp_path):
    write_folder(tmp_path / "cats", 2)
    write_mask(tmp_path / "masks" / "cats" / "0000001.png")
    outputs = parse_pictures(tmp_path)
    assert len(outputs.metadata["clips"].table) == 2 and outputs.metadata["clips"].has_masks
    reader = ClipReader(outputs.metadata["clips"].table, 16)
    assert reader.read(0, 0)[1] is None
    assert reader.read(1, 0)[1][:, :8].all() and not reader.read(1, 0)[1][:, 8:].any()


def test_a_folder_without_pictures_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(DataError, match="notes.txt"):
        parse_pictures(tmp_path)
