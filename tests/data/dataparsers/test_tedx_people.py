"""Both ways in which clips of talks lie on disk, and the faulty table that is in circulation."""

import pytest
from clip_files import write_folder, write_video

from nerfstudio_avatars.data.clips.clip_metadata import clip_key, ted_talk, voxceleb_person
from nerfstudio_avatars.data.dataparsers.tedx_people import TedxPeopleDataParserConfig

HEADER = "video_id,start,end,bbox,fps,width,height,partition\n"


def parse(root, **options):
    config = TedxPeopleDataParserConfig(data=root, image_size=16, test_share=0, **options)
    return config.setup().get_dataparser_outputs().metadata


@pytest.mark.parametrize(
    "row", ["a-talk#10#300,0,0,1-2-3-4,10.0,1280,720,train", "a-talk,10,300,1-2-3-4,10.0,1280,720,train"]
)
@pytest.mark.parametrize("name", ["a-talk#000010#000300", "a-talk#10#300", "a-talk#10#300#000000#000000"])
def test_a_clip_is_found_in_the_table_with_its_range_in_either_place(tmp_path, name, row):
    write_folder(tmp_path / name, 4)
    write_video(tmp_path / "other#0#200.mp4", 4)
    (tmp_path / "ted-metadata.csv").write_text(HEADER + row.replace("10.0", "12.5") + "\n")
    clips = {clip.name: clip for clip in parse(tmp_path)["clips"]}
    assert (clips[name].fps, clips[name].person, clips[name].split) == (12.5, "a-talk", "train")
    assert (clips["other#0#200"].fps, clips["other#0#200"].person) == (25.0, "other")


def test_clips_of_a_talk_are_one_person(tmp_path):
    for name in ("a#0#9", "a#10#19", "b#0#9"):
        write_folder(tmp_path / "train" / name, 3)
    assert parse(tmp_path, identity="person")["identities"] == ["a", "b"]
    assert parse(tmp_path)["identities"] == ["a#0#9", "a#10#19", "b#0#9"]
    assert {clip.fps for clip in parse(tmp_path)["clips"]} == {10.0}


def test_talks_can_be_joined_in_folders(tmp_path):
    for talk in ("a-b_c", "d"):
        write_folder(tmp_path / "train" / talk, 3)
    assert parse(tmp_path, identity="person")["identities"] == ["a-b_c", "d"]


def test_names_are_read_by_their_parts():
    assert voxceleb_person("id1#v#0#5") == "id1"
    assert voxceleb_person("id1#v#5") is voxceleb_person("holiday") is voxceleb_person("a#b#c#d") is None
    assert ted_talk("v#0#5") == ted_talk("v#0#5#000000#000000") == "v"
    assert ted_talk("v") is ted_talk("v#x#y") is None
    assert clip_key("id1#v#0#0") == ("id1", "v", 0, 0)
