"""Clips of SURREAL and of faces, damaged in every way: one clear error, or frames that are sound. No training."""

import shutil
from functools import lru_cache

import numpy as np
import pytest
import scipy.io
import torch
from clip_files import write_folder, write_mask, write_video
from damage import BYTES, SHORT, VALUES, bounded, told

from nerfstudio_avatars.demo.surreal import draw_surreal_demo
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.instant_avatar.data import surreal
from nerfstudio_avatars.instant_avatar.data.surreal import SurrealDataParserConfig
from nerfstudio_avatars.unsup_volanim.data.clip_reader import ClipReader
from nerfstudio_avatars.unsup_volanim.data.dataparsers import ImageFoldersDataParserConfig, VoxCelebDataParserConfig
from nerfstudio_avatars.unsup_volanim.data.loose_clip import read_loose_clip, read_loose_masks

NAME = "demo_01_c0001"
FIELDS = ("pose", "shape", "gender", "zrot", "joints2D", "joints3D", "camLoc", "segm_2")
SENSELESS = ("NaN", "infinity", "text", "complex", "nothing")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = draw_surreal_demo(tmp_path_factory.mktemp("demo"), width=96, height=72, frames=4)
    for other in folder.glob("*_c0002*"):
        other.unlink()
    return folder


@pytest.fixture(autouse=True)
def _one_body(monkeypatch):
    """The body is built once."""
    monkeypatch.setattr(surreal, "load_body", _load_body)


_load_body = lru_cache(surreal.load_body)


def _read_surreal(folder):
    config = SurrealDataParserConfig(data=folder, body="standin", novel_clips="none")
    outputs = config.setup().get_dataparser_outputs("train")
    pictures = outputs.metadata["pictures"].load()
    assert outputs.cameras.camera_to_worlds.isfinite().all() and pictures.float().mean() > 1


@pytest.mark.parametrize("kind", SHORT)
@pytest.mark.parametrize("ending", [".mp4", "_info.mat", "_segm.mat"])
def test_a_damaged_file_of_surreal_ends_in_one_clear_error_or_in_sound_data(drawn, tmp_path, ending, kind):
    folder = shutil.copytree(drawn, tmp_path / "clip")
    SHORT[kind](folder / f"{NAME}{ending}")
    try:
        with bounded():
            _read_surreal(folder)
    except UserError as error:
        told(error)


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_field_of_surreal_ends_in_one_clear_error_or_in_sound_data(drawn, tmp_path, name, kind):
    folder = shutil.copytree(drawn, tmp_path / "clip")
    path = folder / f"{NAME}_{'segm' if name.startswith('segm') else 'info'}.mat"
    fields = {key: value for key, value in scipy.io.loadmat(path).items() if not key.startswith("__")}
    fields[name] = VALUES[kind](fields[name])
    scipy.io.savemat(path, fields)
    try:
        with bounded():
            _read_surreal(folder)
    except UserError as error:
        told(error)
    else:
        assert kind not in SENSELESS, "nonsense was taken"


CLIPS = {
    "id1#video#000001#000005.mp4": lambda path: write_video(path, 5),
    "id2#video#000001#000005.gif": lambda path: write_video(path, 5, codec="gif", options={}, pix_fmt="rgb8"),
    "id3#video#000001#000005/0000002.png": lambda path: write_folder(path.parent, 5),
    "masks/id1#video#000001#000005/0000002.png": lambda path: [
        write_mask(path.with_name(f"{frame:07d}.png")) for frame in range(5)
    ],
    "masks/id3#video#000001#000005/0000002.npy": lambda path: [
        path.parent.mkdir(parents=True),
        *(np.save(path.with_name(f"{frame:07d}.npy"), np.ones((64, 64), np.uint8)) for frame in range(5)),
    ],
    "vox-metadata.csv": lambda path: path.write_text(
        "person_id,video_id,start,end,fps,partition\n" + "".join(f"id{n},video,1,5,25,train\n" for n in (1, 2, 3))
    ),
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for name, write in CLIPS.items():
        write(folder / name)
    return folder


@pytest.mark.parametrize("kind", BYTES)
@pytest.mark.parametrize("name", CLIPS)
def test_damaged_clips_are_left_out_or_named_and_frames_are_whole(clips, tmp_path, name, kind):
    folder = shutil.copytree(clips, tmp_path / "clips")
    BYTES[kind](folder / name)
    with bounded():
        try:
            outputs = VoxCelebDataParserConfig(data=folder, image_size=32).setup().get_dataparser_outputs("train")
        except UserError as error:
            told(error)
            return
        table = outputs.metadata["clips"].table
        reader = ClipReader(table, 32)
        for number, frame in [(number, frame) for number, one in enumerate(table) for frame in range(one.frames)]:
            try:
                rgb, mask = reader.read(number, frame)
            except UserError as error:
                told(error)
                continue
            assert rgb.shape == (32, 32, 3) and (mask is None or mask.shape == (32, 32))


@pytest.mark.parametrize("kind", SHORT)
@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.png", "a.webp"])
def test_a_damaged_driving_clip_or_mask_is_named(tmp_path, name, kind):
    path, sound = tmp_path / name, write_video(tmp_path / "sound.mp4", 3)
    if path.suffix in (".mp4", ".gif"):
        kinds = {} if path.suffix == ".mp4" else {"codec": "gif", "options": {}, "pix_fmt": "rgb8"}
        write_video(path, 3, **kinds)
    else:
        write_mask(path)
    SHORT[kind](path)
    for read in (lambda: read_loose_clip(path, 32)[0], lambda: read_loose_masks(sound, 32, path)):
        try:
            with bounded():
                assert isinstance(read(), torch.Tensor)
        except UserError as error:
            told(error)


@pytest.mark.parametrize("kind", SHORT)
def test_a_damaged_picture_among_pictures_is_named_when_it_is_read(tmp_path, kind):
    write_folder(tmp_path, 3)
    SHORT[kind](tmp_path / "0000001.png")
    try:
        with bounded():
            outputs = ImageFoldersDataParserConfig(data=tmp_path, image_size=32).setup().get_dataparser_outputs("train")
            reader = ClipReader(outputs.metadata["clips"].table, 32)
            for clip in range(len(reader.table)):
                assert reader.read(clip, 0)[0].shape == (32, 32, 3)
    except UserError as error:
        assert "0000001.png" in told(error)
