"""Fixtures that many tests share."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

import jaxtyping
import pytest
import torch

# What tests of several folders import.
sys.path.insert(0, str(Path(__file__).parent / "helpers"))
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores, and torch's threads would only wait for each other. Kernels keep two: threads that
    # disturb each other still show.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("NUMBA_NUM_THREADS", "2")

import checked_modules

if not torch.cuda.is_available():
    # Triton reads it when it is first imported. Kernels then run on the CPU, in numpy.
    os.environ.setdefault("TRITON_INTERPRET", "1")

checked_modules.install()

if TYPE_CHECKING:
    from nerfstudio_avatars.bodies.body_model import BodyState
    from nerfstudio_avatars.bodies.smpl_body import SmplBody
    from nerfstudio_avatars.nerfstudio_glue.trainer import AvatarTrainerConfig


def pytest_configure(config: pytest.Config) -> None:
    """Warnings are errors, but for those that users are spared too."""
    from nerfstudio_avatars.nerfstudio_glue.known_warnings import KNOWN_WARNINGS

    for known in KNOWN_WARNINGS:
        config.addinivalue_line("filterwarnings", f"ignore:{known.message}:{known.category.__name__}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most slow tests go first: one that started last would be waited for by every other worker."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def standin() -> SmplBody:
    """The body that ships with the package."""
    from nerfstudio_avatars.bodies.standin import load_standin

    return load_standin()


@pytest.fixture(scope="session")
def random_pose() -> Callable[..., BodyState]:
    """`random_pose(seed, std)`: a random shape, pose (standard deviation in radians) and place (some 30 cm off)."""
    from nerfstudio_avatars.bodies.body_model import BodyState

    def draw(seed: int = 0, std: float = 0.4) -> BodyState:
        generator = torch.Generator().manual_seed(seed)
        betas, orient, body, transl = (torch.randn(size, generator=generator) for size in (10, 3, 69, 3))
        return BodyState(betas=betas, global_orient=orient, body_pose=std * body, transl=0.3 * transl)

    return draw


@pytest.fixture
def triton_device(monkeypatch: pytest.MonkeyPatch) -> str:
    """Sends all ops that have a Triton twin to it: on the GPU, or else in Triton's interpreter. Yields the device."""
    pytest.importorskip("triton", minversion="3", reason="Triton 3 is not installed")
    from nerfstudio_avatars.instant_avatar.articulation import _triton_unpose

    monkeypatch.setenv("NERFSTUDIO_AVATARS_BACKEND", "triton")
    if torch.cuda.is_available():
        return "cuda"
    if os.environ["TRITON_INTERPRET"] != "1":
        pytest.skip("no GPU, and Triton's interpreter is switched off (TRITON_INTERPRET)")
    monkeypatch.setattr(_triton_unpose, "_BLOCK", 512)  # The interpreter takes as long for one point as for many.
    return "cpu"


@pytest.fixture
def tinycudann(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in with tiny-cuda-nn's interface and layout."""
    from nerfstudio_avatars.instant_avatar.field.hash_grid import hash_encode_torch
    from nerfstudio_avatars.instant_avatar.field.hash_grid_layout import HashGridLayout

    class Encoding(torch.nn.Module):
        def __init__(self, dims, config):
            super().__init__()
            self.layout = HashGridLayout.build(
                config["n_levels"], config["base_resolution"], config["per_level_scale"], config["log2_hashmap_size"]
            )
            self.params = torch.nn.Parameter(torch.zeros(self.layout.entries * 2))

        def forward(self, x):
            return hash_encode_torch(x, self.params.reshape(-1, 2), self.layout)

    monkeypatch.setitem(sys.modules, "tinycudann", types.SimpleNamespace(Encoding=Encoding))


@pytest.fixture(scope="session")
def head_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of four toy heads to learn from and one never trained on, 16 frames each, 32 pixels."""
    from nerfstudio_avatars.demo.head_clips import draw_head_clips

    return draw_head_clips(tmp_path_factory.mktemp("clips") / "heads", identities=4, frames=16, size=32)


@pytest.fixture(scope="session")
def small_volanim() -> Callable[..., AvatarTrainerConfig]:
    """`small_volanim(data, output)`: how to train a very small `unsup-volanim-tiny`, without seeds of its own."""

    def build(data: Path, output: Path, name: str = "run", steps: int = 8) -> AvatarTrainerConfig:
        from nerfstudio_avatars.methods import unsup_volanim_tiny
        from nerfstudio_avatars.unsup_volanim.keypoint_detector import KeypointDetectorConfig
        from nerfstudio_avatars.unsup_volanim.schedule import AnimationScheduleConfig
        from nerfstudio_avatars.unsup_volanim.voxel_field import VoxelGeneratorConfig

        config = deepcopy(unsup_volanim_tiny.config)
        config.output_dir, config.experiment_name, config.timestamp = output, "heads", name
        config.max_num_iterations, config.vis = steps, "tensorboard"
        config.steps_per_eval_image, config.steps_per_save, config.save_only_latest_checkpoint = 0, 1000, False
        config.logging.local_writer.enable = False
        manager, model = config.pipeline.datamanager, config.pipeline.model
        manager.data, manager.dataparser.image_size = data, 32
        manager.identities_per_batch, manager.frames_per_identity = 2, 2
        model.network.points_per_edge, model.network.render.samples = 2, 8
        model.network.generator = VoxelGeneratorConfig(
            code_size=3, widths=(8, 8, 4), norm="group", density_scale=10.0, coarse_outputs=True
        )
        model.network.detector = KeypointDetectorConfig(32, (8, 12), head=3, norm="group", positional_bias=0.15)
        model.schedule = AnimationScheduleConfig(
            bootstrap_until=0.35, search_until=0.7, articulate_from=0.7, bootstrap_size=16, bootstrap_levels=1, patch=16
        )
        model.search.candidates, model.search.size, model.search.samples = 4, 8, 6
        model.eval_samples = 12
        model.inversion.code_steps = model.inversion.tune_steps = 2
        return config

    return build


@pytest.fixture(scope="session")
def volanim_config(head_clips, small_volanim, tmp_path_factory) -> Path:
    """The config.yml of a finished, useless run on `head_clips`, with two parts."""
    config = small_volanim(head_clips, tmp_path_factory.mktemp("volanim"), steps=4)
    config.save_config()
    trainer = config.setup()
    trainer.setup()
    trainer.train()
    return config.get_base_dir() / "config.yml"


@pytest.fixture
def compile_kernels(tmp_path):
    """Runs a script that compiles Triton kernels for absent GPUs: the interpreter takes what the compiler rejects."""
    pytest.importorskip("triton", minversion="3", reason="Triton 3 is not installed")

    def run(script):
        environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
        command = [sys.executable, "-W", "ignore", "-c", script]
        found = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        assert found.returncode == 0, found.stderr

    return run


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """Lets a test hand over what no type allows, to see what is said where nothing checks types."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def person_data(tmp_path_factory) -> Path:
    """The demo's person in 16 small pictures, in PeopleSnapshot's format."""
    from nerfstudio_avatars.demo import draw_demo_sequence

    return draw_demo_sequence(tmp_path_factory.mktemp("person") / "data", size=96, frames=16)


@pytest.fixture(scope="session")
def small_person() -> Callable[..., AvatarTrainerConfig]:
    """`small_person(data, output)`: how to train a very small `instant-avatar-cpu`; larger cells are set up sooner."""

    def build(data: Path, output: Path, name: str = "run", steps: int = 24, cell: float = 0.1) -> AvatarTrainerConfig:
        from nerfstudio_avatars.methods import instant_avatar_cpu

        config = deepcopy(instant_avatar_cpu.config)
        config.output_dir, config.experiment_name, config.timestamp = output, "person", name
        config.max_num_iterations, config.vis = steps, "tensorboard"
        config.steps_per_eval_image, config.steps_per_save = 0, 1000
        config.logging.local_writer.enable = False
        manager, model = config.pipeline.datamanager, config.pipeline.model
        manager.data, manager.rays_per_frame = data, 128
        model.avatar.cell_size, model.avatar.field.levels, model.avatar.field.log2_table_size = cell, 6, 12
        model.occupancy_warmup, model.smooth_poses = 8, False
        return config

    return build


@pytest.fixture(scope="session")
def person_config(person_data, small_person, tmp_path_factory) -> Path:
    """The config.yml of a person who was hardly trained, by nerfstudio's trainer."""
    config = small_person(person_data, tmp_path_factory.mktemp("person") / "runs", cell=0.05)
    config.save_config()
    trainer = config.setup()
    trainer.setup()
    trainer.train()
    return config.get_base_dir() / "config.yml"


@pytest.fixture(scope="session")
def orphan(person_config, tmp_path_factory) -> Path:
    """A copy of that run's folder under another name, and no data anywhere."""
    return without_data(person_config, tmp_path_factory.mktemp("orphan") / "my friend")


@pytest.fixture(scope="session")
def volanim_orphan(volanim_config, tmp_path_factory) -> Path:
    """The same of a run of `unsup-volanim-tiny`."""
    return without_data(volanim_config, tmp_path_factory.mktemp("orphan") / "heads of friends")


def without_data(config_path: Path, copy: Path) -> Path:
    """Copies a run, as if its data had been deleted: their path leads nowhere."""
    import shutil

    import yaml

    shutil.copytree(config_path.parent, copy)
    config = yaml.load((copy / "config.yml").read_text("utf8"), Loader=yaml.Loader)
    manager = config.pipeline.datamanager
    config.data = manager.data = manager.dataparser.data = copy / "gone"
    config.output_dir = copy / "gone"
    (copy / "config.yml").write_text(yaml.dump(config), "utf8")
    return copy
