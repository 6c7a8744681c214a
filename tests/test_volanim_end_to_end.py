"""`unsup-volanim` through the commands, as a user types them, on a few tiny toy heads."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

COMMANDS = Path(sys.executable).parent
METHOD = "unsup-volanim-tiny"
STEPS = 30
SIZE = 32
SMALL = {
    "max-num-iterations": STEPS,
    "pipeline.datamanager.identities-per-batch": 2,
    "pipeline.datamanager.frames-per-identity": 2,
    "pipeline.model.network.points-per-edge": 2,
    "pipeline.model.network.generator.code-size": 3,
    "pipeline.model.network.generator.widths": (16, 8, 4),
    "pipeline.model.network.detector.widths": (8, 12, 16),
    "pipeline.model.network.render.samples": 10,
    "pipeline.model.schedule.bootstrap-levels": 1,
    "pipeline.model.schedule.bootstrap-size": 16,
    "pipeline.model.schedule.patch": 16,
    "pipeline.model.search.candidates": 4,
    "pipeline.model.eval-samples": 24,
    "pipeline.model.inversion.code-steps": 4,
    "pipeline.model.inversion.tune-steps": 4,
    "machine.seed": 1,
}

pytestmark = pytest.mark.slow


def command(name, *arguments, folder, fails=False):
    """Runs an installed command without a GPU; its output is shown when it fails."""
    line = [str(COMMANDS / name), *map(str, arguments)]
    environment = os.environ | {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        line,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode != 0) == fails, f"{' '.join(line)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    said = done.stdout + done.stderr
    assert not [line for line in said.splitlines() if re.search("Warning|XNNPACK|disabled local writer", line)]
    return done.stdout + (done.stderr if fails else "")


def flags(options):
    return [
        word
        for name, value in options.items()
        for word in (f"--{name}", *(value if isinstance(value, tuple) else (value,)))
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("volanim-end-to-end")


@pytest.fixture(scope="module")
def run(head_clips, folder):
    """A run's config.yml. The output folder is relative, as a user leaves it."""
    where = ["--data", head_clips, "--timestamp", "run", "--vis", "tensorboard"]
    command("ns-train", METHOD, *where, *flags(SMALL), "voxceleb", "--image-size", SIZE, folder=folder)
    return folder / "outputs" / head_clips.name / METHOD / "run" / "config.yml"


@pytest.fixture(scope="module")
def clips(head_clips):
    return sorted(clip.name for clip in (head_clips / "train").iterdir())


def _video(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]


def test_training_leaves_a_checkpoint(run):
    assert (run.parent / "nerfstudio_models" / f"step-{STEPS - 1:09d}.ckpt").is_file()


def test_ns_eval_measures_held_out_frames(run, folder):
    command("ns-eval", "--load-config", run, "--output-path", "eval.json", folder=folder)
    results = json.loads((folder / "eval.json").read_text())["results"]
    for name in ("l1", "psnr", "ssim", "mask_iou"):
        assert np.isfinite(results[name]), name
    assert results["mask_iou"] > 0.3 and results["l1"] < 0.4


def picture_size(path):
    with Image.open(path) as picture:
        return picture.size


def test_ns_render_dataset_shows_the_held_out_frames(run, folder):
    command("ns-render", "dataset", "--load-config", run, "--output-path", "dataset", folder=folder)
    for kind in ("rgb", "gt-rgb", "parts", "depth"):
        pictures = list((folder / "dataset" / "test" / kind).rglob("*.jpg"))
        assert len(pictures) == 8, kind
        assert all(picture_size(path) == (SIZE, SIZE) for path in pictures)


def test_ns_render_spiral_goes_round(run, folder):
    line = ["--load-config", run, "--output-path", "spiral.mp4", "--seconds", 0.25]
    command("ns-render", "spiral", *line, folder=folder)
    frames = _video(folder / "spiral.mp4")
    assert len(frames) > 2 and all(frame.std() > 5 for frame in frames)


def test_invert_then_drive_a_stranger(run, head_clips, clips, folder):
    stranger = sorted((head_clips / "test").iterdir())[0]
    found = ["--image", stranger, "--output", "new.npz"]
    said = command("ns-avatar", "invert", "--load-config", run, *found, folder=folder)
    assert "new.npz" in said.splitlines()[-1]
    shot = ["--identity", "new.npz", "--driving", clips[1], "--height", 48, "--width", 48]
    said = command("ns-avatar", "drive", "--load-config", run, *shot, "--output", "new.mp4", folder=folder)
    frames = _video(folder / "new.mp4")
    assert len(frames) == 16 and frames[0].shape == (48, 48, 3) and frames[0].std() > 5
    assert "new.mp4" in said.splitlines()[-1]


def test_drive_a_picture_relative_to_its_own_pose(run, head_clips, clips, folder):
    picture = sorted((head_clips / "test").glob("*/*.png"))[3]
    shot = ["--image", picture, "--driving", head_clips / "train" / clips[0], "--relative", "--yaw", 20]
    line = [*shot, "--height", 48, "--width", 48, "--seconds", 0.2, "--output", "relative"]
    command("ns-avatar", "drive", "--load-config", run.parent, *line, folder=folder)
    assert len(list((folder / "relative").glob("*.png"))) == 5


def test_mistakes_end_in_one_sentence(run, clips, folder):
    shot = ["--identity", "nobody", "--driving", clips[0]]
    said = command("ns-avatar", "drive", "--load-config", run, *shot, folder=folder, fails=True)
    assert "--identity nobody: expected" in " ".join(said.split()) and "Traceback" not in said
