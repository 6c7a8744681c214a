"""Single pictures as identities."""

import pytest
from clip_files import number_of, write_folder, write_mask

from nerfstudio_avatars.data.clips.clip_reader import ClipReader
from nerfstudio_avatars.data.dataparsers.image_folders import ImageFoldersDataParserConfig
from nerfstudio_avatars.data.errors import DataError


def parse(root, split="train", **options):
    config = ImageFoldersDataParserConfig(data=root, image_size=16, **({"test_share": 0} | options))
    return config.setup().get_dataparser_outputs(split)


@pytest.mark.parametrize("folder", ["", "train", "train/cats"])
def test_every_picture_is_an_identity(tmp_path, folder):
    write_folder(tmp_path / folder, 12, name="cat{}.png")
    outputs = parse(tmp_path)
    table = outputs.metadata["clips"]
    assert len(outputs.metadata["identities"]) == len(table) == len(outputs.cameras) == 12
    reader = ClipReader(table, 16)
    for number, clip in enumerate(table):
        assert clip.name.endswith(f"cat{number_of(reader.read(number, 0)[0])}")
        assert outputs.image_filenames[number].is_file()
    assert parse(tmp_path, "val").metadata["frame_ids"].tolist() == outputs.metadata["frame_ids"].tolist()


def test_folders_of_one_picture_each_are_told_apart_by_the_folder(tmp_path):
    for name in ("tom", "kitty"):
        write_folder(tmp_path / "train" / name, 1)
    write_folder(tmp_path / "test" / "felix", 1)
    outputs = parse(tmp_path)
    assert outputs.metadata["identities"] == ["kitty/0000000", "tom/0000000"]
    assert len(parse(tmp_path, "test").cameras) == 1


def test_masks_lie_under_the_same_names(tmp_path):
    write_folder(tmp_path / "cats", 2)
    write_mask(tmp_path / "masks" / "cats" / "0000001.png")
    outputs = parse(tmp_path)
    assert len(outputs.metadata["clips"]) == 2 and outputs.metadata["has_masks"]
    reader = ClipReader(outputs.metadata["clips"], 16)
    assert reader.read(0, 0)[1] is None
    assert reader.read(1, 0)[1][:, :8].all() and not reader.read(1, 0)[1][:, 8:].any()


def test_a_folder_without_pictures_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(DataError, match="notes.txt"):
        parse(tmp_path)
