"""The stock commands, as a user types them, on a tiny drawn sequence: nothing is replaced, everything runs."""

import io
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

COMMANDS = Path(sys.executable).parent
STEPS = 30
SIZE = 96

pytestmark = pytest.mark.slow


def _environment():
    """Without a GPU, and without the ffmpeg that a bare machine has not: the commands must bring their own."""
    environment = os.environ | {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "CUDA_VISIBLE_DEVICES": ""}
    environment["PATH"] = os.pathsep.join(
        part for part in os.environ["PATH"].split(os.pathsep) if not (Path(part) / "ffmpeg").exists()
    )
    return environment


def command(name, *arguments, folder):
    """Runs an installed command, which must not warn of anything; its output is shown when it fails."""
    line = [str(COMMANDS / name), *map(str, arguments)]
    done = subprocess.run(
        line,
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(line)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    said = done.stdout + done.stderr
    assert not [line for line in said.splitlines() if re.search("Warning|XNNPACK|disabled local writer", line)]
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("end-to-end")


@pytest.fixture(scope="module")
def data(folder):
    said = command("ns-avatar", "demo-data", "data/tiny-person", "--size", SIZE, folder=folder)
    assert "data/tiny-person" in said.splitlines()[-1]
    return folder / "data" / "tiny-person"


@pytest.fixture(scope="module")
def training(data, folder):
    """A run's config.yml, and what its training said. The output folder is relative, as a user leaves it."""
    flags = ["--max-num-iterations", STEPS, "--pipeline.model.refine-poses", "False", "--timestamp", "run"]
    said = command("ns-train", "instant-avatar-cpu", "--data", data, *flags, "--vis", "tensorboard", folder=folder)
    return folder / "outputs" / data.name / "instant-avatar-cpu" / "run" / "config.yml", said


@pytest.fixture(scope="module")
def run(training):
    return training[0]


def _is_a_person_on_white(image):
    """Some of the picture is drawn, some is plain."""
    image = np.asarray(image)[..., :3]
    plain = (image > 250).all(axis=-1).mean()
    return 0.2 < plain < 0.98


def _video(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_training_leaves_a_checkpoint(run):
    assert (run.parent / "nerfstudio_models" / f"step-{STEPS - 1:09d}.ckpt").is_file()


def test_training_shows_psnr_and_says_what_to_type_next(training, folder):
    config, said = training
    relative = config.relative_to(folder)
    header = next(line for line in said.splitlines() if "Train PSNR" in line)
    assert header.index("Step") < header.index("Train PSNR") < header.index("Train Iter")
    for next_one in (
        f"ns-viewer --load-config {relative}",
        f"ns-avatar animate --load-config {relative} --motion walk",
    ):
        assert f"  {next_one}" in said.splitlines()


def test_training_resumes(run, data, folder):
    flags = ["--max-num-iterations", STEPS + 3, "--vis", "tensorboard", "--timestamp", "resumed", "--load-dir"]
    checkpoints = run.parent / "nerfstudio_models"
    command("ns-train", "instant-avatar-cpu", "--data", data, *flags, checkpoints, folder=folder)
    resumed = run.parents[1] / "resumed" / "nerfstudio_models"
    assert [file.name for file in resumed.iterdir()] == [f"step-{STEPS + 2:09d}.ckpt"]


def test_ns_eval_gives_every_figure_and_the_comparisons(run, folder):
    arguments = ["--load-config", run, "--output-path", "eval.json", "--render-output-path", "eval"]
    command("ns-eval", *arguments, folder=folder)
    results = json.loads((folder / "eval.json").read_text())["results"]
    for background in ("white", "black"):
        for name in ("psnr", "ssim", "psnr_box", "ssim_box"):
            assert np.isfinite(results[f"given_{name}_{background}"])
    assert results["given_psnr_white"] > 12 and results["fps"] > 0
    assert list((folder / "eval").glob("eval_img_*.png"))


def test_evaluate_measures_views_and_poses_separately_from_any_folder(run, tmp_path):
    command("ns-avatar", "evaluate", "--load-config", run.parent, "--output", "e.json", folder=tmp_path)
    groups = json.loads((tmp_path / "e.json").read_text())["groups"]
    assert set(groups) == {"novel_view", "novel_pose"}
    assert all(group["images"] > 0 and group["given_psnr_white"] > 10 for group in groups.values())


def test_ns_render_dataset(run, folder):
    command("ns-render", "dataset", "--load-config", run, "--output-path", "dataset", folder=folder)
    pictures = [
        path for path in (folder / "dataset").rglob("*") if path.suffix in (".jpg", ".png") and "rgb" in str(path)
    ]
    assert pictures and _is_a_person_on_white(Image.open(pictures[0]))


@pytest.mark.parametrize("trajectory", ["interpolate", "spiral"])
def test_ns_render_trajectories(trajectory, run, folder):
    few = {"interpolate": ["--interpolation-steps", 1], "spiral": ["--seconds", 0.25]}[trajectory]
    output = folder / f"{trajectory}.mp4"
    command("ns-render", trajectory, "--load-config", run, "--output-path", output, *few, folder=folder)
    assert all(_is_a_person_on_white(frame) for frame in _video(output))


def test_ns_render_camera_path_moves_the_person_with_time(run, folder):
    # Four metres before the person: x right, y up, z backwards.
    matrix = [-1, 0, 0, 0, 0, 0, 1, 4, 0, 1, 0, 0, 0, 0, 0, 1]
    keys = [{"camera_to_world": matrix, "fov": 35, "aspect": 1, "render_time": time} for time in (0.0, 0.0, 0.5)]
    path = {"camera_type": "perspective", "render_height": 64, "render_width": 64, "fps": 3, "seconds": 1}
    (folder / "path.json").write_text(json.dumps(path | {"camera_path": keys}))
    arguments = ["--camera-path-filename", "path.json", "--output-path", "path", "--output-format", "images"]
    command("ns-render", "camera-path", "--load-config", run, *arguments, "--image-format", "png", folder=folder)
    first, again, later = (
        np.asarray(Image.open(file)).astype(int) for file in sorted((folder / "path").rglob("*.png"))
    )
    assert _is_a_person_on_white(first)
    assert np.abs(first - again).max() == 0
    assert np.abs(first - later).mean() > 1


def test_animate_writes_a_video_of_a_motion(run, folder):
    shot = ["--motion", "walk", "--seconds", 0.4, "--fps", 10, "--height", 64, "--width", 64]
    said = command("ns-avatar", "animate", "--load-config", run, *shot, "--output", "walk.mp4", folder=folder)
    frames = _video(folder / "walk.mp4")
    assert len(frames) == 4 and all(_is_a_person_on_white(frame) for frame in frames)
    assert "walk.mp4" in said.splitlines()[-1]
    assert np.abs(frames[0].astype(int) - frames[3]).mean() > 0.5


def test_animate_writes_transparent_pictures(run, folder):
    shot = ["--motion", "still", "--camera", "turning", "--seconds", 0.2, "--fps", 10, "--height", 48, "--width", 48]
    output = ["--output", "frames", "--transparent"]
    command("ns-avatar", "animate", "--load-config", run, *shot, *output, folder=folder)
    pictures = sorted((folder / "frames").iterdir())
    alpha = np.asarray(Image.open(pictures[0]))[..., 3]
    assert len(pictures) == 2 and alpha.min() == 0 and alpha.max() > 200


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for_page(port, process):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "ns-viewer ended"
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).status
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    raise TimeoutError("ns-viewer served no page")


def _first_picture(port):
    """What a browser does: say where the camera is, and wait for the picture."""
    import msgspec
    from viser._messages import ViewerCameraMessage
    from websockets.sync.client import connect

    # The viewer counts in tenths of a metre. Four metres before the person, looking at them; OpenCV axes.
    look = ViewerCameraMessage((0.5**0.5, -(0.5**0.5), 0, 0), (0, -40, 0), 0.6, 1.0, (0, 0, 0), (0, 0, 1))
    with connect(f"ws://127.0.0.1:{port}", max_size=None) as browser:
        browser.send(msgspec.msgpack.encode(look.as_serializable_dict()))
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for message in msgspec.msgpack.decode(browser.recv(timeout=30)):
                if message["type"] == "BackgroundImageMessage":
                    return Image.open(io.BytesIO(message["rgb_bytes"]))
    raise TimeoutError("the viewer sent no picture")


def test_ns_viewer_shows_the_person(run, folder):
    port = _free_port()
    line = [str(COMMANDS / "ns-viewer"), "--load-config", str(run), "--viewer.websocket-port", str(port)]
    with open(folder / "viewer.log", "wb") as log:
        process = subprocess.Popen(
            line, cwd=folder, env=_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            assert _wait_for_page(port, process) == 200
            assert _is_a_person_on_white(_first_picture(port))
        finally:
            process.terminate()
            process.wait(timeout=30)
