"""Folders, runs and camera paths that users reported, in `tests/cases`: each is read, or named for what it is.

Motion files of that folder are tested in `tests/motion/test_cases.py`.
"""

from pathlib import Path

import pytest

from nerfstudio_avatars.avatars.cameras import read_camera_file
from nerfstudio_avatars.avatars.inspection.reading import read_anything
from nerfstudio_avatars.avatars.inspection.report import Refusal, Report
from nerfstudio_avatars.avatars.run import our_methods
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.instant_avatar.data.people_snapshot import PeopleSnapshotDataParserConfig, read_scene
from nerfstudio_avatars.nerfstudio_glue.config_file import read_trainer_config
from nerfstudio_avatars.unsup_volanim.data.clip_frames import ClipFramesDataManagerConfig
from nerfstudio_avatars.unsup_volanim.data.dataparsers import VoxCelebDataParserConfig

CASES = Path(__file__).parent / "cases"
SNAPSHOT = {
    "male-1-casual": (24, "24 frames in the video, 24 masks, 25 poses"),
    "fewer_poses": (23, "24 frames in the video, 24 masks, 23 poses"),
    "video_longer": (24, "26 frames in the video, 24 masks, 24 poses"),
}


@pytest.mark.parametrize("name", SNAPSHOT)
def test_poses_masks_and_frames_belong_together_one_by_one_from_the_first(name):
    count, told = SNAPSHOT[name]
    config = PeopleSnapshotDataParserConfig(
        data=CASES / "snapshot_extra_pose" / name, body="standin", downscale_factor=1
    )
    scene = read_scene(config)
    assert len(scene.recording.motion) == len(scene.recording.intrinsics) == count
    assert any(note.startswith(told) for note in scene.recording.notes)
    assert scene.pictures.load(range(count)).shape[0] == count
    seen = read_anything(config.data)
    assert isinstance(seen, Report) and any(told in note for note in seen.notes)


def test_a_run_of_windows_opens():
    config = CASES / "windows_config" / "config.yml"
    assert read_trainer_config(config, our_methods()).data == Path("outputs/demo/data/demo-person")


PATHS = {"six.json": 6, "crop_null.json": 6, "with_crop.json": 6, "one_keyframe.json": 1}
REFUSED = {
    "a_string.json": "not a matrix",
    "equirect.json": "perspective cameras only",
    "ns_export_cameras.json": "ns-export cameras",
}


@pytest.mark.parametrize("name", PATHS)
def test_camera_paths_are_taken(name):
    assert len(read_camera_file(CASES / "camera_path" / name).cameras) == PATHS[name]


@pytest.mark.parametrize("name", REFUSED)
def test_camera_paths_that_cannot_be_taken_are_named(name):
    with pytest.raises(UserError, match=rf"{name}.*{REFUSED[name]}"):
        read_camera_file(CASES / "camera_path" / name)


LAYOUTS = {
    "neuman": "a scene of NeuMan without its cameras and poses",
    "nerfstudio": "a nerfstudio scene",
    # Its masks are found; but a matrix of 80 times the identity is no camera's.
    "ia_sam": r"intrinsic with the last row \[ 0\.  0\. 80\.\]",
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_other_layouts_are_named_and_taken_for_clips_by_nobody(name):
    folder = CASES / "other_layouts" / name
    with pytest.raises(UserError, match=LAYOUTS[name]):
        read_scene(PeopleSnapshotDataParserConfig(data=folder, body="standin"))
    with pytest.raises(UserError, match="a subject in InstantAvatar's layout|a nerfstudio scene|a scene of NeuMan"):
        VoxCelebDataParserConfig(data=folder).setup().get_dataparser_outputs("train")
    assert isinstance(read_anything(folder), Refusal)


CLIPS = {"clips_one_broken": ("id10001", "id10009"), "clips_cut_in_the_middle": ("id10002",)}


@pytest.mark.parametrize("name", CLIPS)
def test_broken_clips_are_left_out_and_the_rest_is_learnt_from(name, capsys):
    config = ClipFramesDataManagerConfig(dataparser=VoxCelebDataParserConfig(data=CASES / name / "data", image_size=32))
    config.prefetch = False
    manager = config.setup(device="cpu", test_mode="val", world_size=1, local_rank=0)
    for step in range(40):
        _, batch = manager.next_train(step)
        assert batch["image"].shape[1:] == (32, 32, 3)
    said = " ".join(capsys.readouterr().out.split())
    seen = read_anything(CASES / name / "data")
    assert isinstance(seen, Report)
    for broken in CLIPS[name]:
        assert broken in said and any("left out" in note and broken in note for note in seen.notes)
