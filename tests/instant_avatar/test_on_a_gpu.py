"""instant-avatar on a pretended GPU: no tensor is left on the CPU where CUDA would refuse it, and the numbers agree."""

import contextlib
import copy
import functools
import math
import os
from types import SimpleNamespace

import pytest
import torch
from pretend_gpu import GPU, GpuTensor, pretend_gpu
from small_training import callback_attributes

from nerfstudio_avatars.avatars.film import Shot, frames
from nerfstudio_avatars.demo import draw_demo_sequence
from nerfstudio_avatars.instant_avatar.rendering.union_grid import UnionGrid
from nerfstudio_avatars.methods import instant_avatar
from nerfstudio_avatars.nerfstudio_glue.trainer import fit_schedules
from nerfstudio_avatars.reference_methods import instant_avatar_as_published

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def specifications(monkeypatch):
    """Plain torch, in one precision: neither numba nor Triton can compute on a GPU that is not there."""
    monkeypatch.setenv("NERFSTUDIO_AVATARS_BACKEND", "torch")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_demo_sequence(tmp_path_factory.mktemp("tiny"), size=48, frames=16)


def small_config(data, **model):
    """The GPU's method, made small."""
    config = copy.deepcopy(instant_avatar.config)
    config.max_num_iterations = 40
    manager, options = config.pipeline.datamanager, config.pipeline.model
    manager.data, manager.frames_per_batch, manager.rays_per_frame = data, 2, 8
    options.avatar.cell_size, options.avatar.field.levels, options.avatar.field.log2_table_size = 0.08, 3, 8
    options.occupancy_warmup, options.test_pose_refinement.steps, options.test_pose_refinement.rays = 16, 2, 32
    options.avatar.field.mixed_precision = False
    for name, value in model.items():
        owner = options if hasattr(options, name) else options.avatar
        setattr(owner, name, value)
    fit_schedules(config)
    return config


def build(config, device):
    torch.manual_seed(0)
    return config.pipeline.setup(device=device, test_mode="test")


def train(config, device, steps):
    """Trains for the given steps; the losses of each."""
    pipeline = build(config, device)
    pipeline.train()
    before, after = pipeline.get_training_callbacks(callback_attributes())
    adam = [config.optimizers[name]["optimizer"].setup(group) for name, group in pipeline.get_param_groups().items()]
    losses = []
    for step in steps:
        torch.manual_seed(step)
        before.run_callback(step)
        _, terms, _ = pipeline.get_train_loss_dict(step)
        for one in adam:
            one.zero_grad()
        sum(terms.values()).backward()
        for one in adam:
            one.step()
        after.run_callback(step)
        losses.append({name: float(term.detach()) for name, term in terms.items()})
    return pipeline.eval(), losses


STEPS = (0, 1, 2, 16, 17, 39)
"""With fixed poses, with moving ones, across a refresh of the occupancy, and the last."""


@pytest.fixture(scope="module")
def on_cpu(data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NERFSTUDIO_AVATARS_BACKEND", "torch")
        return train(small_config(data), "cpu", STEPS)


@pytest.fixture(scope="module")
def on_gpu(data):
    with pytest.MonkeyPatch.context() as patch, pretend_gpu():
        patch.setenv("NERFSTUDIO_AVATARS_BACKEND", "torch")
        return train(small_config(data), "cuda", STEPS)


def test_it_trains_as_on_the_cpu(on_cpu, on_gpu):
    pipeline, seen = on_gpu
    tensors = {**dict(pipeline.model.named_parameters()), **dict(pipeline.model.named_buffers())}
    assert [name for name, one in tensors.items() if one.device != GPU] == []
    for ours, theirs in zip(seen, on_cpu[1], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)


def held_out(pipeline):
    """Camera and picture."""
    return pipeline.datamanager.fixed_indices_eval_dataloader.get_camera(0)


def numbers(values):
    """Of whatever device, on the CPU."""
    return {name: value.cpu() for name, value in values.items() if isinstance(value, torch.Tensor)}


def test_it_shows_and_measures_what_it_does_on_the_cpu(on_cpu, on_gpu):
    """A held-out picture, with its pose fitted to it."""
    seen = []
    for (pipeline, _), here in zip((on_cpu, on_gpu), (contextlib.nullcontext, pretend_gpu), strict=True):
        with here():
            camera, batch = held_out(pipeline)
            pipeline.model._in_training = False
            pictures = pipeline.model.get_outputs_for_camera(camera)
            figures, images = pipeline.model.get_image_metrics_and_images(pictures, batch)
            seen.append((numbers(pictures), numbers(images), figures))
    torch.testing.assert_close(seen[1][:2], seen[0][:2], rtol=1e-3, atol=1e-4)
    assert any(name.startswith("refined") for name in seen[0][2])
    assert seen[1][2] == pytest.approx(seen[0][2], rel=1e-3)


def test_it_is_evaluated(on_gpu, monkeypatch):
    pipeline, _ = on_gpu
    monkeypatch.setattr(pipeline.datamanager.fixed_indices_eval_dataloader, "image_indices", [0])
    with pretend_gpu():
        figures = pipeline.get_average_eval_image_metrics()
    assert all(math.isfinite(value) for value in figures.values())


@pytest.mark.parametrize("motion", ["walk", "training"])
def test_it_is_filmed_in_a_motion(on_gpu, motion):
    """As `ns-avatar animate` does."""
    pipeline, _ = on_gpu
    with pretend_gpu():
        shot = Shot(motion=motion, camera="turning", fps=4, seconds=0.5, height=12, width=16)
        pictures = [picture for _, picture in frames(SimpleNamespace(model=pipeline.model), shot)]
    assert len(pictures) == 2 and pictures[0].shape == (12, 16, 3)


def test_a_motion_and_the_time_move_it(on_gpu):
    """As the viewer does."""
    pipeline, _ = on_gpu
    model = pipeline.model
    with pretend_gpu():
        camera, _ = held_out(pipeline)
        body = pipeline.datamanager.train_dataparser_outputs.metadata["person"].motion
        camera.metadata, camera.times = {}, torch.tensor([[0.37]])
        between = model.get_outputs_for_camera(camera)["rgb"]
        moved = model.render_pose(camera, body.at(0.37))["rgb"]
        assert between.device == moved.device == GPU


def test_a_lens_that_bends_is_seen_through(on_gpu):
    pipeline, _ = on_gpu
    with pretend_gpu():
        camera, _ = held_out(pipeline)
        camera.distortion_params = torch.tensor([[0.1, 0.0, 0.0, 0.0, 0.0, 0.0]], device="cuda")
        assert pipeline.model.get_outputs_for_camera(camera)["rgb"].isfinite().all()


def test_a_checkpoint_goes_from_one_device_to_the_other(data, on_gpu, tmp_path):
    pipeline, _ = on_gpu
    with pretend_gpu():
        camera, _ = held_out(pipeline)
        expected = pipeline.model.get_outputs_for_camera(camera)["rgb"].cpu()
        torch.save(pipeline.state_dict(), tmp_path / "state.pt")
        state = torch.load(tmp_path / "state.pt", map_location="cpu", weights_only=False)
        assert not any(isinstance(value, GpuTensor) for value in state.values())
        other = build(small_config(data), "cuda")
        other.load_pipeline(state, STEPS[-1])
        torch.testing.assert_close(other.eval().model.get_outputs_for_camera(camera)["rgb"].cpu(), expected)
    lone = build(small_config(data), "cpu").eval()
    lone.load_pipeline(state, STEPS[-1])
    camera, _ = held_out(lone)
    torch.testing.assert_close(lone.model.get_outputs_for_camera(camera)["rgb"], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"articulation": "broyden", "paper_resolution": (4, 16, 16)},
        {"articulation": "broyden", "paper_resolution": (4, 16, 16), "refine_from": 0.0},
        {"empty_space": "union"},
        {"density_noise_steps": 5, "background": "black", "outlier_weight": 1.0},
        {"refine_poses": False},
    ],
    ids=lambda options: next(iter(options)),
)
def test_other_choices_train_and_show(data, options):
    with pretend_gpu():
        pipeline, losses = train(small_config(data, **options), "cuda", (0, 1))
        camera, _ = held_out(pipeline)
        assert pipeline.model.get_outputs_for_camera(camera)["rgb"].isfinite().all()
    assert all(math.isfinite(value) for step in losses for value in step.values())


@pytest.mark.parametrize("sampler", ["mask", "patch", "edge"])
def test_every_sampler_draws_rays(data, sampler):
    config = small_config(data)
    manager = config.pipeline.datamanager
    manager.sampler, manager.patch_size = sampler, 4
    with pretend_gpu():
        pipeline = build(config, "cuda")
        rays, batch = pipeline.datamanager.next_train(0)
        assert rays.origins.device == batch["image"].device == GPU
        pipeline.datamanager.next_eval(0)


def test_the_references_choices_train(data, monkeypatch):
    """With and without an update of the paper's grid."""
    monkeypatch.setattr(
        "nerfstudio_avatars.instant_avatar.avatar.UnionGrid", functools.partial(UnionGrid, resolution=8)
    )
    config = instant_avatar_as_published(small_config(data, paper_resolution=(4, 16, 16)))
    manager = config.pipeline.datamanager
    assert manager.sampler == "patch"
    manager.patch_size, manager.rays_per_frame = 4, 16
    with pretend_gpu():
        pipeline, losses = train(config, "cuda", (0, 1))
        camera, _ = held_out(pipeline)
        assert pipeline.model.get_outputs_for_camera(camera)["rgb"].isfinite().all()
    assert all(math.isfinite(value) for value in losses[-1].values())


@pytest.mark.slow
def test_tritons_kernels_are_given_what_lies_on_the_gpu(data, on_gpu, monkeypatch):
    """The way that a GPU takes by itself, in Triton's interpreter; the figures are those of plain torch."""
    pytest.importorskip("triton", minversion="3", reason="Triton 3 is not installed")
    from nerfstudio_avatars.instant_avatar.articulation import _triton_unpose
    from nerfstudio_avatars.instant_avatar.field import _triton_hash_grid as _triton
    from nerfstudio_avatars.instant_avatar.field import _triton_infer

    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("Triton's interpreter is switched off (TRITON_INTERPRET)")
    monkeypatch.delenv("NERFSTUDIO_AVATARS_BACKEND")
    for module, block in ((_triton, 4096), (_triton_unpose, 512), (_triton_infer, 4096)):
        monkeypatch.setattr(module, "_BLOCK", block)  # The interpreter takes as long for one point as for many.
    with pretend_gpu():
        pipeline, losses = train(small_config(data), "cuda", STEPS[:1] + STEPS[3:5])
        camera, _ = held_out(pipeline)
        camera.rescale_output_resolution(0.25)
        assert pipeline.model.get_outputs_for_camera(camera)["rgb"].isfinite().all()
    assert losses[0] == pytest.approx(on_gpu[1][0], rel=2e-2)
