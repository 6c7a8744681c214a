"""A user's mistake in the data ends nerfstudio's commands in its message alone."""

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from clip_files import write_folder, write_video
from damage import BYTES, told
from nerfstudio.utils import eval_utils
from neuman_folders import write_neuman
from snapshot_folders import write_preprocessed, write_raw

from nerfstudio_avatars import dataparsers
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.methods import instant_avatar_cpu, unsup_volanim_tiny
from nerfstudio_avatars.nerfstudio_glue.opened_runs import check_configuration, check_configurations
from nerfstudio_avatars.nerfstudio_glue.stock_commands import tell_users_errors_alone

pytestmark = pytest.mark.slow


def _clips(folder):
    write_video(folder / "id1#video#000001#000005.mp4", 5)
    return folder


def _pictures(folder):
    return write_folder(folder, 3)


LAYOUTS = {
    "people": (write_raw, ("camera.pkl", "masks.hdf5", "reconstructed_poses.hdf5", "people.mp4")),
    "files": (write_preprocessed, ("cameras.npz", "poses.npz", "images/image_0000.png", "masks/mask_0000.npy")),
    "scene": (write_neuman, ("alignments.npy", "smpl_output_optimized.pkl", "sparse/images.txt")),
    "clips": (_clips, ("id1#video#000001#000005.mp4",)),
    "pictures": (_pictures, ()),
}
KINDS = ("empty", "all noise", "a pipe")
CASES = [(layout, file, kind) for layout, (_, files) in LAYOUTS.items() for file in files for kind in KINDS]
CASES += [(layout, "", kind) for layout in LAYOUTS for kind in ("no such folder", "an empty folder", "a file")]


def _damaged(tmp_path, layout, file, kind):
    write, _ = LAYOUTS[layout]
    folder = tmp_path / layout
    if file:
        write(folder)
        BYTES[kind](folder / file)
    elif kind == "an empty folder":
        folder.mkdir()
    elif kind == "a file":
        folder.touch()
    return folder


def _training(folder, layout, output):
    """As `ns-train METHOD --data FOLDER DATAPARSER` makes it."""
    config = copy.deepcopy((unsup_volanim_tiny if layout in ("clips", "pictures") else instant_avatar_cpu).config)
    if layout == "pictures":
        config.pipeline.datamanager.dataparser = copy.deepcopy(dataparsers.image_folders.config)
    config.data = config.pipeline.datamanager.data = folder
    config.output_dir, config.vis = output, "tensorboard"
    config.set_timestamp()
    return config


def _printed(error, monkeypatch, capsys, command):
    """What Python prints of an error that nobody caught."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(sys, "argv", [f"/usr/bin/{command}"])
    tell_users_errors_alone()
    capsys.readouterr()
    sys.excepthook(type(error), error, error.__traceback__)
    return capsys.readouterr().err


def test_there_are_enough_cases():
    assert len(CASES) >= 45


@pytest.mark.parametrize(("layout", "file", "kind"), CASES)
def test_ns_train_ends_in_the_message_alone(tmp_path, monkeypatch, capsys, layout, file, kind):
    folder = _damaged(tmp_path, layout, file, kind)
    trainer = _training(folder, layout, tmp_path / "outputs").setup(local_rank=0, world_size=1)
    with pytest.raises(UserError) as error:
        trainer.setup()
    told(error.value)
    printed = _printed(error.value, monkeypatch, capsys, "ns-train")
    assert printed == f"ns-train: {error.value}\n" and str(folder) in printed


RUNS = [(command, file) for command in ("ns-eval", "ns-viewer") for file in ("camera.pkl", "masks.hdf5")]
RUNS += [(command, file) for command in ("ns-eval", "ns-viewer", "ns-render") for file in ("config.yml", "step-*.ckpt")]
"""`ns-render` needs no data."""


@pytest.mark.parametrize("kind", ["a pipe", "all noise"])
@pytest.mark.parametrize(("command", "file"), RUNS)
def test_finished_runs_end_in_the_message_alone(person_config, tmp_path, monkeypatch, capsys, command, file, kind):
    run = shutil.copytree(person_config.parent, tmp_path / "run")
    data = shutil.copytree(Path(_data_of(person_config)), tmp_path / "data")
    config = yaml.load((run / "config.yml").read_text(), Loader=yaml.Loader)
    config.data = config.pipeline.datamanager.data = config.pipeline.datamanager.dataparser.data = data
    (run / "config.yml").write_text(yaml.dump(config))
    BYTES[kind](next(path for path in tmp_path.rglob(file)))
    mode = "inference" if command == "ns-render" else "test"
    check_configurations()
    with pytest.raises(UserError) as error:
        eval_utils.eval_setup(run / "config.yml", test_mode=mode)
    told(error.value)
    assert _printed(error.value, monkeypatch, capsys, command) == f"{command}: {error.value}\n"


def _data_of(config):
    return yaml.load(config.read_text(), Loader=yaml.Loader).pipeline.datamanager.data


CAMERA = {"camera_to_world": [1.0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 4, 0, 0, 0, 1], "fov": 40, "aspect": 1}
CAMERA_PATH = {
    "camera_type": "perspective",
    "seconds": 1,
    "camera_path": [CAMERA],
    "render_height": 8,
    "render_width": 8,
}
PATHS = {
    "huge": {"render_height": 1e7, "render_width": 1e7},
    "half a turn": {"camera_path": [CAMERA | {"fov": 180}]},
    "far away": {"camera_path": [CAMERA | {"camera_to_world": [1e30] * 16}]},
    "equirectangular": {"camera_type": "equirectangular"},
    "one key frame": {
        "camera_path": [],
        "seconds": 0,
        "keyframes": [{"matrix": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 4, 1], "fov": 40}],
    },
    "no time": {"seconds": 0},
    "a list": None,
}


@pytest.mark.parametrize("kind", [*PATHS, "a pipe", "all noise", "missing"])
def test_camera_paths_of_ns_render_are_looked_at_before_anything_is_drawn(volanim_orphan, tmp_path, kind):
    from nerfstudio.scripts.render import RenderCameraPath

    path = tmp_path / "path.json"
    path.write_text(json.dumps([] if kind == "a list" else CAMERA_PATH | PATHS.get(kind, {})))
    if kind not in PATHS:
        BYTES[kind](path)
    command = RenderCameraPath(
        load_config=volanim_orphan / "config.yml", camera_path_filename=path, output_path=tmp_path / "out"
    )
    with pytest.raises(UserError, match="path.json") as error:
        command.main()
    told(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("oddity", [{"crop": {"crop_center": "nowhere"}}, {"render_height": "8"}])
def test_oddities_of_camera_paths_do_not_disturb_ns_render(volanim_orphan, tmp_path, oddity):
    from nerfstudio.scripts.render import RenderCameraPath

    (tmp_path / "path.json").write_text(json.dumps(CAMERA_PATH | oddity))
    RenderCameraPath(
        load_config=volanim_orphan / "config.yml",
        camera_path_filename=tmp_path / "path.json",
        output_path=tmp_path / "out",
        output_format="images",
    ).main()
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 1


def test_other_errors_keep_their_traceback(monkeypatch, capsys):
    try:
        raise ZeroDivisionError("a mistake of ours")
    except ZeroDivisionError as error:
        assert "Traceback" in _printed(error, monkeypatch, capsys, "ns-train")


def test_runs_of_other_methods_are_nerfstudios_business(tmp_path):
    path = tmp_path / "config.yml"
    path.write_text("!!python/object:nerfstudio.engine.trainer.TrainerConfig\nmethod_name: nerfacto\n")
    check_configuration(path)
    for text in ("", "[1, 2]", "null", "a: b", "[" * 5000):
        path.write_text(text)
        with pytest.raises(UserError, match="no configuration"):
            check_configuration(path)
    path.write_text('!!python/object/apply:os.mkdir ["nerfstudio_avatars"]')
    with pytest.raises(UserError, match="not executed"):
        check_configuration(path)


@pytest.mark.slow
def test_the_commands_themselves_print_no_stack(tmp_path):
    """Two of them, as they are typed: the plugin is known to nerfstudio by its entry points alone."""
    commands = Path(sys.executable).parent
    (tmp_path / "config.yml").write_text("!!python/object:nerfstudio_avatars.trainer.AvatarTrainerConfig {a: 1}")
    for line in (
        ["ns-train", "instant-avatar-cpu", "--data", "nowhere", "--vis", "tensorboard"],
        ["ns-eval", "--load-config", "config.yml"],
    ):
        done = subprocess.run(
            [commands / line[0], *line[1:]], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 1 and "Traceback" not in done.stderr + done.stdout
        assert done.stderr.splitlines()[0].startswith(f"{line[0]}: ")
