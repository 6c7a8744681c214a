"""`ns-avatar process`: from a video to a subject that trains; what it refuses."""

import cv2
import numpy as np
import pytest
import torch
from turning_bodies import FIELD_OF_VIEW, seen_bodies, turning_states

from nerfstudio_avatars import tflite
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.cli import main
from nerfstudio_avatars.cli.process import Process
from nerfstudio_avatars.demo import draw_demo_sequence
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.instant_avatar.data.people_snapshot import PeopleSnapshotDataParserConfig
from nerfstudio_avatars.process.body_fit import STEPS


@pytest.mark.slow
def test_a_drawn_video_becomes_a_subject(tmp_path, capsys, monkeypatch):
    pytest.importorskip("ai_edge_litert")
    monkeypatch.setitem(STEPS, 1, 60)
    monkeypatch.setitem(STEPS, 2, 40)
    drawn = draw_demo_sequence(tmp_path / "drawn", size=256, frames=16)
    output = tmp_path / "data" / "me"
    (video,) = drawn.glob("*.mp4")
    main(["process", str(video), "--output", str(output), "--frames", "12", "--body", "standin", "--end", "0.5"])
    said = capsys.readouterr().out
    assert f"Next: ns-train instant-avatar --data {output} " in said and "pixels of the landmarks" in said
    parser = PeopleSnapshotDataParserConfig(data=output, downscale_factor=2).setup()
    train = parser.get_dataparser_outputs("train")
    kept = np.load(output / "cameras.npz")
    height, width = int(kept["height"]), int(kept["width"])
    assert 200 < height <= 256 and 150 < width < 230, "framed"
    shown = train.metadata["pictures"].source.load([0])
    assert len(train.cameras) == 9 and shown.shape == (1, round(height / 2), round(width / 2), 4)
    body, motion = load_standin(), train.metadata["person"].motion
    joints = torch.stack([body.pose(motion.state(frame)).joints for frame in range(len(motion))])
    assert (joints[:, 15, 2] - joints[:, 7, 2] > 1.0).all(), "upright"
    assert motion.fps == pytest.approx(11 / 0.5)
    sheet = cv2.imread(str(output / "fit.png"))
    assert sheet.shape[1] > 1200 and sheet.std() > 20


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"frames": 3}, "--frames 3: expected at least 8"),
        ({"size": 10}, "--size 10: expected at least 64"),
        ({"field_of_view": 0.0}, "--field-of-view 0: expected degrees"),
        ({"field_of_view": 180.0}, "--field-of-view 180"),
    ],
)
def test_values_that_make_no_sense_are_refused(option, message, tmp_path):
    with pytest.raises(UserError, match=message):
        Process(tmp_path / "a.mp4", **option).run()


def test_what_is_there_is_kept(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="exists already. Remove it"):
        Process(tmp_path / "a.mp4", output=tmp_path / "there").run()


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file is a file"):
        Process(tmp_path / "a.mp4", output=tmp_path / "file" / "me").run()


def test_a_missing_video_is_told(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["process", str(tmp_path / "a.mp4"), "--output", str(tmp_path / "out")])
    assert "no such file" in capsys.readouterr().err


def test_without_the_networks_package_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tflite, "RUNTIME", "no_such_runtime_of_models")
    for number in range(10):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(UserError, match="pip install 'nerfstudio-avatars"):
        Process(tmp_path, output=tmp_path / "out").run()
    assert not (tmp_path / "out").exists()


def test_poses_and_masks_of_other_tools_need_no_networks(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tflite, "RUNTIME", "no_such_runtime_of_models")
    states = turning_states(9)
    for name in ("video", "masks"):
        (tmp_path / name).mkdir()
    for number, one in enumerate(seen_bodies(states)):
        picture = np.full((*one.mask.shape, 3), 200, np.uint8)
        picture[one.person] = (40, 80, 120)
        cv2.imwrite(str(tmp_path / "video" / f"{number}.png"), picture)
        cv2.imwrite(str(tmp_path / "masks" / f"{number}.png"), (one.mask > 0).astype(np.uint8))
    parts = {name: torch.stack([getattr(one, name) for one in states]) for name in ("global_orient", "body_pose")}
    far = torch.stack([one.transl for one in states]) + torch.tensor([0.0, 0.0, 5.0])
    BodySequence(states[0].betas, **parts, transl=far).save(tmp_path / "poses.npz")
    options = ["--poses", str(tmp_path / "poses.npz"), "--masks", str(tmp_path / "masks"), "--body", "standin"]
    lens = ["--field-of-view", str(FIELD_OF_VIEW)]
    main(["process", str(tmp_path / "video"), "--output", str(tmp_path / "me"), *options, *lens])
    said = capsys.readouterr().out
    assert "The poses are those of SMPL arrays" in said and "put where the masks are" in said
    assert "turns by 320 degrees" in said and "9 of 9 frames leave no doubt" in said and "landmarks" not in said
    scene = PeopleSnapshotDataParserConfig(data=tmp_path / "me").setup().get_dataparser_outputs("train")
    shown = scene.metadata["pictures"].source.load([0])[0]
    assert (shown[..., :3][shown[..., 3] == 255].float() - torch.tensor([120.0, 80, 40])).abs().max() < 3


@pytest.mark.parametrize("person", ["0", "-1", "anna", "²"])
def test_a_name_without_a_motion_file_is_refused(tmp_path, person):
    with pytest.raises(UserError, match=f"--person {person}: expected the number of a person, counted from the left"):
        Process(tmp_path / "a.mp4", person=person).run()


def test_masks_say_already_who_it_is(tmp_path):
    with pytest.raises(UserError, match="--person 1: the masks already say who it is"):
        Process(tmp_path / "a.mp4", person="1", masks=tmp_path).run()
