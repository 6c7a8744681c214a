"""The nerfstudio model in process: a few training steps on a tiny drawn sequence, poses, checkpoints, figures."""

import copy

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from small_training import callback_attributes

from nerfstudio_avatars.demo import draw_demo_sequence
from nerfstudio_avatars.instant_avatar.camera_rays import camera_rays
from nerfstudio_avatars.instant_avatar.poses.pose_resolver import PoseResolver
from nerfstudio_avatars.methods import instant_avatar_cpu
from nerfstudio_avatars.nerfstudio_glue.trainer import fit_schedules
from nerfstudio_avatars.reference_methods import instant_avatar_as_published

STEPS = 40


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_demo_sequence(tmp_path_factory.mktemp("tiny"), size=96, frames=16)


def small_config(data, **model):
    config = copy.deepcopy(instant_avatar_cpu.config)
    config.max_num_iterations = STEPS
    config.pipeline.datamanager.data = data
    config.pipeline.datamanager.rays_per_frame = 64
    config.pipeline.model.avatar.cell_size = 0.05
    config.pipeline.model.avatar.field.levels = 6
    config.pipeline.model.avatar.field.log2_table_size = 12
    config.pipeline.model.occupancy_warmup = 8
    for name, value in model.items():
        setattr(config.pipeline.model, name, value)
    fit_schedules(config)
    return config


def train(config, steps=STEPS):
    torch.manual_seed(0)
    pipeline = config.pipeline.setup(device="cpu", test_mode="test")
    pipeline.train()
    model = pipeline.model
    callbacks = pipeline.get_training_callbacks(callback_attributes())
    groups = model.get_param_groups()
    adam = {name: config.optimizers[name]["optimizer"].setup(parameters) for name, parameters in groups.items()}
    losses = []
    for step in range(steps):
        for callback in callbacks:
            if "BEFORE" in callback.where_to_run[0].name:
                callback.run_callback(step)
        _, loss, metrics = pipeline.get_train_loss_dict(step)
        total = sum(loss.values())
        for optimizer in adam.values():
            optimizer.zero_grad()
        total.backward()
        for optimizer in adam.values():
            optimizer.step()
        for callback in callbacks:
            if "AFTER_TRAIN_ITERATION" in callback.where_to_run[0].name:
                callback.run_callback(step)
        losses.append({name: value.item() for name, value in loss.items()} | {"psnr": float(metrics["psnr"])})
    pipeline.eval()
    return pipeline, losses


@pytest.fixture(scope="module")
def trained(data):
    return train(small_config(data))


def held_out(pipeline, index=0):
    return pipeline.datamanager.fixed_indices_eval_dataloader.get_camera(index)


def test_training_lowers_the_loss_with_every_term_finite(trained):
    _, losses = trained
    assert all(np.isfinite(value) for step in losses for value in step.values())
    assert np.mean([s["psnr"] for s in losses[-5:]]) > np.mean([s["psnr"] for s in losses[:5]]) + 2
    assert {"rgb", "mask", "hard_accumulation", "hard_weights"} <= set(losses[0])
    assert any("empty_space" in step for step in losses)
    assert "pose_smoothness" in losses[-1] and "pose_smoothness" not in losses[0]


@pytest.mark.slow
def test_poses_move_only_when_asked(data, trained):
    pipeline, _ = trained
    assert pipeline.model.poses.frame_correction.abs().max() > 0
    fixed, _ = train(small_config(data, refine_poses=False), steps=4)
    assert fixed.model.poses.frame_correction.abs().max() == 0
    assert fixed.model.poses.joint_offsets.abs().max() == 0


def test_pictures_have_all_outputs_and_show_somebody(trained):
    pipeline, _ = trained
    camera, _ = held_out(pipeline)
    outputs = pipeline.model.get_outputs_for_camera(camera)
    height, width = int(camera.height), int(camera.width)
    channels = {"rgb": 3, "accumulation": 1, "depth": 1, "normal": 3, "canonical": 3}
    for name, count in channels.items():
        assert outputs[name].shape == (height, width, count) and torch.isfinite(outputs[name]).all()
    assert 0.02 < outputs["accumulation"].mean() < 0.5
    distance = (camera.camera_to_worlds[0, :, 3]).norm()
    assert abs(outputs["depth"][outputs["accumulation"] > 0.9].mean() - distance) < 0.3


def test_figures_name_pose_measure_pixels_and_background(trained):
    pipeline, _ = trained
    camera, batch = held_out(pipeline)
    model = pipeline.model
    model._in_training = False
    figures, images = model.get_image_metrics_and_images(model.get_outputs_for_camera(camera), batch)
    for protocol in ("given", "neighbours", "refined"):
        for measure in ("psnr_white", "ssim_white", "psnr_box_white", "psnr_black", "ssim_box_black"):
            assert np.isfinite(figures[f"{protocol}_{measure}"])
    assert figures["refined_psnr_white"] > figures["neighbours_psnr_white"] - 0.3
    assert images["img"].shape == (int(camera.height), 3 * int(camera.width), 3)


def test_refinement_looks_at_test_pixels_in_evaluation_only(trained):
    pipeline, _ = trained
    camera, batch = held_out(pipeline)
    model = pipeline.model
    model._in_training = True
    figures, _ = model.get_image_metrics_and_images(model.get_outputs_for_camera(camera), batch)
    model._in_training = False
    assert not any(name.startswith("refined") for name in figures)


def test_a_checkpoint_gives_the_same_picture(data, trained):
    pipeline, _ = trained
    torch.manual_seed(99)
    other = small_config(data).pipeline.setup(device="cpu", test_mode="test")
    other.load_pipeline(pipeline.state_dict(), STEPS - 1)
    other.eval()
    camera, _ = held_out(pipeline)
    a, b = (p.model.get_outputs_for_camera(camera)["rgb"] for p in (pipeline, other))
    assert torch.equal(a, b)


@pytest.mark.slow
def test_rays_of_a_picture_are_those_of_training(trained):
    """One pixel rendered as a training ray and inside a whole picture: the same colour."""
    pipeline, _ = trained
    model = pipeline.model
    camera, _ = held_out(pipeline)
    frame = int(camera.metadata["frame"])
    picture = model.get_outputs_for_camera(camera)["rgb"]
    origins, directions = camera_rays(camera)
    posed = model.avatar.pose(model.poses.transforms_of(model.poses.state(frame)).detach())
    row, column = [int(i) for i in (model.get_outputs_for_camera(camera)["accumulation"][..., 0] > 0.9).nonzero()[40]]
    with torch.no_grad():
        ray = model.avatar.render(
            origins[row, column][None], directions[row, column][None], torch.tensor([0.5]), [(slice(0, 1), posed)]
        )
    torch.testing.assert_close(ray.premultiplied[0] + 1 - ray.accumulation[0], picture[row, column], atol=2e-2, rtol=0)


def test_bent_lenses_take_nerfstudios_rays(trained):
    """The closed form is for pinholes; what has distortion or is no perspective camera goes to nerfstudio."""
    camera, _ = held_out(trained[0])
    plain = camera_rays(camera)[1]
    torch.testing.assert_close(plain, camera.generate_rays(camera_indices=0).directions, atol=1e-6, rtol=0)
    for change in (
        {"distortion_params": torch.tensor([[0.3, 0.0, 0.0, 0.0, 0.0, 0.0]])},
        {"camera_type": CameraType.FISHEYE},
    ):
        arguments = {"distortion_params": None, "camera_type": CameraType.PERSPECTIVE, **change}
        bent = Cameras(
            camera.camera_to_worlds,
            camera.fx,
            camera.fy,
            camera.cx,
            camera.cy,
            camera.width,
            camera.height,
            **arguments,
        )
        directions = camera_rays(bent)[1]
        torch.testing.assert_close(directions, bent.generate_rays(camera_indices=0).directions)
        assert (directions - plain).abs().max() > 1e-4


def _bare(camera, times=None, metadata=None):
    return Cameras(camera.camera_to_worlds, camera.fx, camera.fy, camera.cx, camera.cy, times=times, metadata=metadata)


def assert_same_pose(found, expected, atol):
    torch.testing.assert_close(found.packed(), expected.packed(), atol=atol, rtol=0)
    assert torch.equal(found.betas, expected.betas)


def test_the_resolver_takes_frame_then_time_then_clicked_image(trained):
    pipeline, _ = trained
    resolver, poses = pipeline.model.resolver, pipeline.model.poses
    camera, _ = held_out(pipeline)
    video = pipeline.model.person.video_frames
    by_frame = _bare(camera, times=torch.tensor([[0.0]]), metadata={"frame": torch.tensor([[4]])})
    assert_same_pose(resolver.pose_for(by_frame), poses.state(4), atol=0)
    by_time = _bare(camera, times=torch.tensor([[(6 - video.start) / (len(video) - 1)]]))
    assert_same_pose(resolver.pose_for(by_time), poses.state(6), atol=1e-4)
    between = resolver.pose_for(_bare(camera, metadata={"frame": torch.tensor([[6.5]])}))
    middle = 0.5 * (poses.state(6).transl + poses.state(7).transl)
    torch.testing.assert_close(between.transl, middle, atol=1e-4, rtol=0)
    clicked = _bare(camera)
    clicked.metadata = {"cam_idx": 3}
    assert_same_pose(resolver.pose_for(clicked), poses.state(int(resolver.train_frames[3])), atol=0)
    assert_same_pose(resolver.pose_for(_bare(camera)), poses.state(int(resolver.train_frames[0])), atol=0)


def test_time_runs_over_the_video_and_not_into_held_out_poses(trained):
    resolver = PoseResolver(trained[0].model.poses, torch.tensor([1, 2, 5]))
    camera, _ = held_out(trained[0])
    for time, frame in ((0.0, 1), (0.5, 3), (1.0, 5), (1.7, 5)):
        found = resolver.pose_for(_bare(camera, times=torch.tensor([[time]])))
        assert_same_pose(found, resolver.poses.state(frame), atol=1e-5)


def test_a_pose_of_the_data_is_rendered_as_it_was_given(trained):
    """In the world frame, and without the correction that its frame has learnt."""
    pipeline, _ = trained
    model = pipeline.model
    camera, _ = held_out(pipeline)
    given = model.render_pose(camera, model.person.motion.state(2))["rgb"]
    assert torch.equal(given, model.render_pose(camera, model.poses.state(2, corrected=False))["rgb"])
    assert not torch.equal(given, model.render_pose(camera, model.poses.state(5))["rgb"])


@pytest.mark.slow
def test_the_papers_choices_train(data):
    config = instant_avatar_as_published(small_config(data))
    # The whole of it is slow without a GPU: a smaller grid, one patch, two steps.
    config.pipeline.datamanager.patch_size = 8
    config.pipeline.datamanager.rays_per_frame = 64
    config.pipeline.model.avatar.paper_resolution = (8, 16, 16)
    pipeline, losses = train(config, steps=2)
    assert pipeline.model.avatar.union is not None and pipeline.model.avatar.union.occupied.any()
    assert "empty_space" in losses[0] and np.isfinite(losses[1]["rgb"])
