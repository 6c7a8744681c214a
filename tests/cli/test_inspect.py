"""What is understood of files and folders, what is not, and that nothing in them is executed."""

import json
import os
import pickle
import shutil
from copy import deepcopy
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from nerfstudio_avatars.avatars.inspection.reading import read_anything
from nerfstudio_avatars.avatars.inspection.report import Refusal, Report
from nerfstudio_avatars.bodies.standin import STANDIN_FILE
from nerfstudio_avatars.cli import main
from nerfstudio_avatars.media.contact_sheet import CAPTION, GAP, TILE

LINE = TILE + 2 * CAPTION + GAP


def inspect(capsys, *arguments):
    """Exit code and what is printed as JSON."""
    code = 0
    try:
        main(["inspect", *map(str, arguments), "--json"])
    except SystemExit as end:
        code = end.code
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture
def nodding(tmp_path):
    """Eleven frames at 20 a second: the head turns by 9 degrees a frame, the body goes 1 m along z."""
    poses, trans = np.zeros((11, 72)), np.zeros((11, 3))
    poses[:, 15 * 3] = np.deg2rad(9) * np.arange(11)
    trans[:, 2] = np.linspace(0, 1, 11)
    np.savez(tmp_path / "nodding.npz", poses=poses, trans=trans, fps=20)
    return tmp_path / "nodding.npz"


def test_a_motion_is_measured(nodding, capsys):
    code, [report] = inspect(capsys, nodding)
    assert code == 0 and report["kind"] == "motion" and report["format"] == "SMPL arrays"
    assert (report["frames"], report["rate_fps"], report["up_axis"], report["up_axis_from"]) == (11, 20, "y", "body")
    assert report["duration_s"] == pytest.approx(0.5)
    assert report["root_x_m"] == [0, 0] and report["root_z_m"] == pytest.approx([0, 1])
    assert report["fastest_root_m_per_s"] == pytest.approx(2, rel=1e-4)
    fastest, *_ = report["fastest_joints_deg_per_s"].items()
    assert fastest[0] == "head" and fastest[1] == pytest.approx(180, rel=1e-3)
    assert report["notes"] == []


def test_flips_leaps_and_dropped_hands_are_noted(tmp_path, capsys):
    poses, trans = np.zeros((5, 156)), np.zeros((5, 3))
    poses[3, 18 * 3], trans[4] = np.pi * 0.75, 100
    np.savez(tmp_path / "odd.npz", poses=poses, trans=trans, mocap_framerate=60.0)
    _, [report] = inspect(capsys, tmp_path / "odd.npz")
    assert report["format"] == "AMASS" and report["up_axis_from"] == "body"
    notes = "\n".join(report["notes"])
    assert "left_elbow turns by 135 degrees between frames 2 and 3, and 1 more" in notes
    assert "after frame 3" in notes and "hands, jaw and eyes are dropped" in notes


def test_the_persons_of_a_file_are_told_and_one_can_be_asked_for(tmp_path, capsys):
    poses = [np.zeros((3, 72)), np.zeros((5, 72))]
    fields = {"poses": poses, "trans": [np.zeros((3, 3)), np.ones((5, 3))], "cam_poses": np.zeros((5, 4, 4))}
    (tmp_path / "two.pkl").write_bytes(pickle.dumps(fields))
    _, [report] = inspect(capsys, tmp_path / "two.pkl")
    assert report["format"] == "3DPW" and report["frames"] == 5
    assert "0 (3 frames), 1 (5 frames)" in report["persons"]
    assert inspect(capsys, tmp_path / "two.pkl", "--person", "0")[1][0]["frames"] == 3
    code, [report] = inspect(capsys, tmp_path / "two.pkl", "--person", "7")
    assert code == 1 and "no person 7" in report["reason"]


def test_a_joint_map_is_written_and_read(tmp_path, capsys):
    skeleton = Path(__file__).parents[1] / "cases" / "bvh_rigify_metarig" / "a.bvh"
    written = tmp_path / "map.json"
    code, [report] = inspect(capsys, skeleton, "--write-joint-map", written)
    joints = json.loads(written.read_text("utf8"))
    assert code == 0 and joints.items() >= {"pelvis": "spine", "left_knee": "shin.L", "right_wrist": "hand.R"}.items()
    assert report["joints"].items() <= joints.items()
    written.write_text(json.dumps({"head": "spine.004"}))
    _, [report] = inspect(capsys, skeleton, "--joint-map", written)
    assert report["joints"]["head"] == "spine.004" != joints["head"]
    written.write_text(json.dumps({"pelvis": "hips"}))
    code, [report] = inspect(capsys, skeleton, "--joint-map", written)
    assert code == 1 and "no joint 'hips'" in report["reason"]


def test_a_joint_map_of_what_has_no_names_or_of_two_files_is_not_written(tmp_path, nodding, capsys):
    written = tmp_path / "map.json"
    for files, said in (([nodding], "no skeleton with joints' names"), ([nodding, nodding], "expected one file")):
        with pytest.raises(SystemExit) as end:
            main(["inspect", *map(str, files), "--write-joint-map", str(written)])
        assert end.value.code == 2 and said in " ".join(capsys.readouterr().err.split()) and not written.exists()


def test_a_pointer_is_called_so(capsys):
    pointer = Path(__file__).parents[1] / "cases" / "smpl_not_a_model" / "motion_lfs.npz"
    code, [report] = inspect(capsys, pointer)
    assert code == 1 and "Git LFS pointer" in report["reason"]


def test_shipped_motions_are_known_by_name_and_the_table_names_everything(capsys):
    main(["inspect", "cartwheel"])
    printed = capsys.readouterr().out
    assert "cartwheel.npz: motion" in printed and "fps" in printed and "fastest joints" in printed


def test_a_body_file_is_known_by_what_it_holds(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("NERFSTUDIO_AVATARS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "bodies"
    folder.mkdir()
    shutil.copy(STANDIN_FILE, folder / "SMPL_FEMALE.npz")
    code, [file, inside] = inspect(capsys, folder / "SMPL_FEMALE.npz", folder)
    assert code == 0 and (file["kind"], file["gender"]) == ("body", "female")
    assert (file["vertices"], file["joints"], file["betas_used"]) == (13718, 24, 10)
    assert inside["female"] == "SMPL_FEMALE.npz" and "no file for neutral, male" in inside["notes"]


MALICIOUS_RUN = """
!!python/object:nerfstudio.engine.trainer.TrainerConfig
method_name: instant-avatar
experiment_name: somebody
timestamp: 2026-01-01_000000
data: !!python/object/apply:pathlib.PosixPath [data, somebody]
max_num_iterations: 300
pipeline: !!python/object/apply:os.system ["touch pwned"]
"""


def test_a_run_is_read_without_building_anything(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yml").write_text(MALICIOUS_RUN)
    code, [report] = inspect(capsys, tmp_path)
    assert code == 1 and not (tmp_path / "pwned").exists()
    assert "TrainerConfig (not executed)" in report["reason"]


def test_a_run_tells_its_data_and_how_far_it_came(tmp_path, capsys):
    import yaml

    from nerfstudio_avatars import methods

    config = deepcopy(methods.instant_avatar.config)
    config.data = Path("data/somebody")
    (tmp_path / "config.yml").write_text(yaml.dump(config))
    code, [report] = inspect(capsys, tmp_path)
    assert code == 0 and "no checkpoint" in report["notes"][0]
    assert (report["kind"], report["method"], report["data"]) == ("run", "instant-avatar", "data/somebody")
    (tmp_path / "nerfstudio_models").mkdir()
    whole, cut = (tmp_path / "nerfstudio_models" / f"step-000000{step}.ckpt" for step in (299, 399))
    torch.save({"step": 299, "pipeline": {}}, whole)
    cut.write_bytes(whole.read_bytes()[:-50])
    _, [report] = inspect(capsys, tmp_path / "config.yml")
    assert f"{cut.name} is damaged" in report["notes"][0]
    assert report["steps_done"] == 300 and report["size_MB"] > 0


def test_what_ns_train_writes_is_understood(tmp_path):
    import yaml

    from nerfstudio_avatars import methods

    (tmp_path / "config.yml").write_text(yaml.dump(methods.instant_avatar.config))
    report = read_anything(tmp_path)
    assert isinstance(report, Report) and dict(fact[:2] for fact in report.facts)["method"] == "instant-avatar"


class Command:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_a_pickle_is_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "motion.pkl").write_bytes(pickle.dumps(Command()))
    refusal = read_anything(tmp_path / "motion.pkl")
    assert isinstance(refusal, Refusal) and "not executed" in refusal.reason
    assert not (tmp_path / "pwned").exists()


def test_what_is_not_understood_ends_with_code_1_and_one_reason(tmp_path, capsys, nodding):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").touch()
    code, reports = inspect(capsys, nodding, tmp_path / "folder", tmp_path / "nowhere")
    assert code == 1 and [report["understood"] for report in reports] == [True, False, False]
    # What is there, and what could be: not what each reader missed.
    assert reports[1]["reason"].startswith("notes.txt; expected a person's folder")
    assert "no such file" in reports[2]["reason"]
    with pytest.raises(SystemExit) as end:
        main(["inspect", str(tmp_path / "folder")])
    assert end.value.code == 1 and "not understood" in capsys.readouterr().out


ENDINGS = ("bvh", "csv", "gltf", "json", "mp4", "npy", "npz", "pkl", "png", "pt", "avatar")


@pytest.mark.parametrize("ending", ENDINGS)
def test_pipes_and_devices_are_named_and_block_nobody(tmp_path, ending):
    os.mkfifo(tmp_path / f"a.{ending}")
    (tmp_path / f"b.{ending}").symlink_to("/dev/zero")
    for name, said in (("a", "a named pipe"), ("b", "a device")):
        seen = read_anything(tmp_path / f"{name}.{ending}")
        assert isinstance(seen, Refusal) and said in seen.reason


def test_a_folder_of_runs_names_the_run_below(tmp_path, capsys):
    run = tmp_path / "outputs" / "me" / "instant-avatar" / "now"
    run.mkdir(parents=True)
    (run / "config.yml").touch()
    assert str(run) in inspect(capsys, tmp_path / "outputs")[1][0]["reason"]


DAMAGED = {
    "an identity": (
        "me.npz",
        lambda path: np.savez(path, cube=np.zeros((6, 8, 8, 8)), rotation=np.eye(3)),
        "translation",
    ),
    "a body": ("body.npz", lambda path: np.savez(path, v_template=np.zeros((9, 3))), "no shapedirs"),
    "a camera path": ("a.json", lambda path: path.write_text('{"camera_path": [], "seconds": 1}'), "render_height"),
    "a motion": ("a.npz", lambda path: np.savez(path, poses=np.zeros((3, 71)), trans=np.zeros((3, 3))), "71"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_told_of_by_the_reader_of_its_kind(tmp_path, capsys, kind):
    name, write, said = DAMAGED[kind]
    write(tmp_path / name)
    code, [report] = inspect(capsys, tmp_path / name)
    assert code == 1 and said in report["reason"]


def test_a_damaged_data_folder_is_not_taken_for_another_kind(tmp_path):
    subject = tmp_path / "somebody"
    subject.mkdir()
    (subject / "camera.pkl").write_bytes(b"nothing")
    Image.new("RGB", (8, 8)).save(subject / "picture.png")
    refusal = read_anything(subject)
    assert isinstance(refusal, Refusal) and "reconstructed_poses.hdf5" in refusal.reason


def test_clips_that_training_refuses_are_refused(tmp_path):
    for number in range(3):
        picture = tmp_path / "test" / "clip" / f"{number}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16)).save(picture)
    refusal = read_anything(tmp_path)
    assert isinstance(refusal, Refusal) and "only clips that are held out" in refusal.reason


def test_a_camera_path_is_told_from_a_motion(tmp_path, capsys):
    camera = {"camera_to_world": np.eye(4).flatten().tolist(), "fov": 40.0, "aspect": 1.5, "render_time": 0.5}
    content = {"render_height": 20, "render_width": 30, "seconds": 2.0, "camera_path": [camera] * 3}
    (tmp_path / "path.json").write_text(json.dumps(content))
    (tmp_path / "other.json").write_text('{"a": 1}')
    code, [path, other] = inspect(capsys, tmp_path / "path.json", tmp_path / "other.json")
    assert (path["kind"], path["cameras"], path["duration_s"], path["size"]) == ("camera path", 3, 2.0, "30x20")
    assert code == 1 and "a dict with a" in other["reason"]


def test_clips_pictures_and_videos(tmp_path, capsys):
    from nerfstudio_avatars.demo.head_clips import draw_head_clips

    draw_head_clips(tmp_path / "vox", identities=2, frames=3, size=16, test_identities=1)
    flat = tmp_path / "flat"
    flat.mkdir()
    for number in range(4):
        Image.new("RGB", (20, 10)).save(flat / f"{number}.png")
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 32, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    sheet = tmp_path / "sheets" / "all.png"
    things = [tmp_path / "vox", flat, tmp_path / "clip.mp4", flat / "0.png"]
    code, [vox, pictures, video, picture] = inspect(capsys, *things, "--sheet", sheet)
    assert code == 0 and (vox["dataparser"], vox["clips"], vox["frames"]) == ("voxceleb", 3, 9)
    assert (vox["masks"], vox["persons"], vox["splits"]) == ("3 of 3", 3, {"test": 1, "train": 2})
    assert (pictures["dataparser"], pictures["pictures"]) == ("image-folders", 4)
    assert pictures["size_of_the_first"] == "20x10" and "frames of one driving clip" in pictures["notes"][0]
    assert (video["kind"], video["frames"], video["rate_fps"], video["size"]) == ("clip", 5, 10, "32x16")
    assert Image.open(sheet).height == 4 * LINE
    assert (picture["kind"], picture["size"], picture["masks"]) == ("picture", "20x10", "none")


@pytest.mark.slow
def test_recordings_of_one_person(tmp_path, capsys):
    from nerfstudio_avatars.demo import draw_demo_sequence, draw_surreal_demo

    draw_demo_sequence(tmp_path / "people", size=32, frames=16)
    draw_surreal_demo(tmp_path / "surreal", width=64, height=48, frames=8)
    sheet = tmp_path / "sheet.png"
    code, [people, surreal] = inspect(capsys, tmp_path / "people", tmp_path / "surreal", "--sheet", sheet)
    assert code == 0 and (people["dataparser"], surreal["dataparser"]) == ("people-snapshot", "surreal")
    [subject] = people["subjects"]
    assert people[subject] | {"frames": 26, "size": "32x32", "masks": "all", "in novel poses": 10} == people[subject]
    assert (surreal["clips"], surreal["persons"]) == (3, 1)
    clips = [value for value in surreal.values() if isinstance(value, dict)]
    assert len(clips) == 3 and all(clip["size"] == "64x48" for clip in clips)
    assert Image.open(sheet).height == 4 * LINE


def test_a_contact_sheet_shows_the_body_on_the_ground_with_its_left_side_orange(tmp_path):
    main(["inspect", "walk", "--sheet", str(tmp_path / "sheet.png")])
    sheet = np.asarray(Image.open(tmp_path / "sheet.png")).astype(int)
    assert sheet.shape == (2 * LINE, 8 * (TILE + GAP), 3)
    first = sheet[CAPTION : CAPTION + TILE, :TILE]
    orange = np.argwhere(first[..., 0] - first[..., 2] > 60)
    blue = np.argwhere(first[..., 2] - first[..., 0] > 60)
    # Who faces the camera has their left at its right.
    assert len(orange) > 200 and len(blue) > 200 and orange[:, 1].mean() > blue[:, 1].mean() + 20
    ground = np.flatnonzero((first[:, 0] < 200).all(-1))
    body = np.flatnonzero((np.ptp(first, axis=-1) > 40).any(1))
    assert len(ground) and 0 <= ground.min() - body.max() < 8
    from_the_left = sheet[LINE + CAPTION : LINE + CAPTION + TILE, :TILE]
    seen = from_the_left[..., 0] - from_the_left[..., 2]
    assert (seen > 60).sum() > (seen < -60).sum()


def test_a_sheet_is_a_png(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["inspect", "walk", "--sheet", str(tmp_path / "sheet.jpg")])
    assert end.value.code == 2 and "ends in .png" in capsys.readouterr().err


def test_inspect_explains_itself(capsys):
    with pytest.raises(SystemExit) as end:
        main(["inspect", "--help"])
    assert end.value.code == 0 and "--sheet" in capsys.readouterr().out


def test_an_identity_is_told_from_bodies_and_motions(tmp_path, capsys):
    turns = np.tile(np.eye(3), (2, 1, 1))
    arrays = {"cube": np.zeros((6, 8, 8, 8)), "rotation": turns, "translation": np.zeros((2, 3))}
    np.savez(tmp_path / "me.npz", code=np.zeros(3), **arrays)
    code, [report] = inspect(capsys, tmp_path / "me.npz")
    assert code == 0 and report["kind"] == "identity"
    assert report["parts"] == 2 and report["voxels_along_an_edge"] == 8
