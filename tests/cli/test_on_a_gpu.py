"""`ns-avatar` on a pretended GPU, on which it opens every run: no figure mixes the GPU's pictures with the data's."""

import copy
import math
from dataclasses import replace

import pytest
from pretend_gpu import pretend_gpu

from nerfstudio_avatars.avatars.driving import DrivenShot, drive
from nerfstudio_avatars.avatars.film import Shot, film
from nerfstudio_avatars.avatars.identity import find_identity, save_identity
from nerfstudio_avatars.avatars.measure import follow, measure
from nerfstudio_avatars.avatars.measure_faces import animation_figures
from nerfstudio_avatars.avatars.protocols import OURS
from nerfstudio_avatars.avatars.run import load_run
from nerfstudio_avatars.demo import draw_demo_sequence
from nerfstudio_avatars.demo.heads_exam import HeadExam, train_on_true_poses
from nerfstudio_avatars.demo.heads_page import draw_sheet, drive_video, inversion_sheet
from nerfstudio_avatars.demo.toy_exam import held_out_rows
from nerfstudio_avatars.methods import instant_avatar
from nerfstudio_avatars.nerfstudio_glue import checkpoints
from nerfstudio_avatars.unsup_volanim.data.clip_table import ClipTable

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """Plain torch: neither numba nor Triton can compute on a GPU that is not there."""
    monkeypatch.setenv("NERFSTUDIO_AVATARS_BACKEND", "torch")
    let_pretended_tensors_be_read(monkeypatch)
    with pretend_gpu():
        yield


def let_pretended_tensors_be_read(patch):
    """A pretended tensor is saved under its own class's name, which no checkpoint may have otherwise."""
    patch.setattr(checkpoints, "_check_names", lambda path, content: None)


# unsup-volanim: trained on the CPU, opened on the GPU -----------------------------------------------------------------


@pytest.fixture
def heads(volanim_config):
    run = load_run(volanim_config, need_data=True)
    assert run.model.device.type == "cuda"
    return run


def test_toy_heads_are_examined(heads, head_clips, tmp_path):
    exam = HeadExam(heads.pipeline.model, head_clips, held_out_rows(heads.pipeline))
    assert all(math.isfinite(value) for value in exam.figures().values())
    draw_sheet(exam, tmp_path / "heads.png")
    exam.clips = ClipTable([replace(clip, frames=2) for clip in exam.clips])
    drive_video(exam, tmp_path / "driven.mp4", heads=2)
    figures = inversion_sheet(heads.pipeline, head_clips, tmp_path / "inverted.png")
    assert all(math.isfinite(value) for value in figures.values())


def test_the_ceiling_is_trained_and_examined(heads, head_clips):
    train_on_true_poses(heads.pipeline, head_clips, 2)
    rows = held_out_rows(heads.pipeline)[:3]
    assert HeadExam(heads.pipeline.model, head_clips, rows, true_poses=True).figures()["l1"] > 0


def test_held_out_frames_and_people_are_measured(heads):
    for people in (False, True):
        assert animation_figures(heads, 2, people)["l1"] > 0


def test_somebody_new_is_found_kept_and_moved(heads, head_clips, tmp_path):
    picture = sorted((head_clips / "test").glob("*/*.png"))[0]
    mask = next((head_clips / "masks" / "test" / picture.parent.name).glob(f"{picture.stem}.*"))
    save_identity(find_identity(heads, (picture,), (mask,)), tmp_path / "somebody.npz")
    driver = str(sorted((head_clips / "train").iterdir())[0])
    for relative in (False, True):
        identity = str(tmp_path / "somebody.npz")
        shot = DrivenShot(driving=driver, identity=identity, relative=relative, height=12, width=12, seconds=0.05)
        assert drive(heads, shot, tmp_path / "out") > 0


# instant-avatar: trained and opened on the GPU ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def person_config(tmp_path_factory):
    """The config.yml of a run of nerfstudio's own trainer."""
    folder = tmp_path_factory.mktemp("person")
    config = copy.deepcopy(instant_avatar.config)
    config.output_dir, config.experiment_name, config.timestamp = folder, "person", "run"
    config.max_num_iterations, config.vis, config.steps_per_eval_image = 3, "tensorboard", 2
    config.logging.local_writer.enable = False
    manager, model = config.pipeline.datamanager, config.pipeline.model
    manager.data = draw_demo_sequence(folder / "data", size=32, frames=16)
    manager.frames_per_batch, manager.rays_per_frame, model.occupancy_warmup = 2, 8, 1
    model.avatar.cell_size, model.avatar.field.levels, model.avatar.field.log2_table_size = 0.08, 3, 8
    model.test_pose_refinement.steps, model.test_pose_refinement.rays = 1, 8
    with pytest.MonkeyPatch.context() as patch, pretend_gpu():
        patch.setenv("NERFSTUDIO_AVATARS_BACKEND", "torch")
        let_pretended_tensors_be_read(patch)
        config.save_config()
        trainer = config.setup()
        trainer.setup()
        assert trainer.device.startswith("cuda")
        trainer.train()
        config.max_num_iterations, config.load_dir = 4, trainer.checkpoint_dir
        resumed = config.setup()
        resumed.setup()
        resumed.train()
    return config.get_base_dir() / "config.yml"


def test_a_trained_person_is_measured(person_config, tmp_path):
    run = load_run(person_config, need_data=True)
    follow(replace(OURS, stored_poses=True), run.model)
    measured = measure(run, pictures=tmp_path, most=1)
    assert all(math.isfinite(value) for figures in measured.groups.values() for value in figures.values())
    assert run.model.outlier_frames() is not None


def test_a_trained_person_is_filmed(person_config, tmp_path):
    shot = Shot(motion="walk", fps=4, seconds=0.5, height=16, width=16)
    assert film(load_run(person_config), shot, tmp_path / "walk.mp4") == 2
