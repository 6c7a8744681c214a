"""The nerfstudio model around the network: phases, pictures, who is shown and what moves them, checkpoints."""

import math
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from nerfstudio.engine.callbacks import TrainingCallbackLocation
from small_training import callback_attributes

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.reference_methods import unsup_volanim_as_published
from nerfstudio_avatars.unsup_volanim.data.clip_cameras import clip_cameras
from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable, PartPoseTableConfig
from nerfstudio_avatars.unsup_volanim.schedule import AnimationScheduleConfig
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import identity_poses

SIZE = 32


@pytest.fixture
def pipeline(head_clips, small_volanim, tmp_path):
    """Untrained."""
    torch.manual_seed(0)
    return small_volanim(head_clips, tmp_path).pipeline.setup(device="cpu", test_mode="test")


@pytest.fixture
def model(pipeline):
    """With the whole shape and one colour more than grey."""
    with torch.no_grad():
        pipeline.model.network.generator.heads[-1][1].weight.normal_(0, 0.3)
    return pipeline.model.eval()


@pytest.fixture
def camera(model):
    return clip_cameras(model.clips.table, torch.tensor([[1, 3]]), SIZE)


# Overfitting ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_told_every_pose_it_learns_the_shape(oracle, four_heads):
    """Measured on three sets of heads, 450 steps, on held-out frames.

    Correlation of depth .90 .91 .84, relief .88 .94 .82, overlap .93 .92 .93; on another machine, whose last bits
    differ, .79, .80, .92.
    """
    figures = four_heads.figures(oracle, four_heads.poses[four_heads.held_out().rows])
    assert figures["depth_corr"] > 0.72 and figures["relief_gain"] > 0.7 and figures["iou"] > 0.85, figures


@pytest.mark.slow
def test_its_detector_finds_the_poses(oracle, four_heads):
    """With the detector's poses. Measured: correlation .81 .86 .75, relief .84 .94 .82, overlap .89 .89 .88."""
    with torch.no_grad():
        poses = oracle.estimate(four_heads.held_out().images)
    figures = four_heads.figures(oracle, poses)
    assert figures["depth_corr"] > 0.6 and figures["relief_gain"] > 0.6 and figures["iou"] > 0.8, figures


# Phases ---------------------------------------------------------------------------------------------------------------


def test_the_object_becomes_articulated_once(model):
    model.config.max_steps = 100
    said = [step for step in range(60, 80) if model.begin_step(step)]
    assert said == [70], "at 0.7 of the training"
    assert model.network.parts == 2


def test_the_detectors_are_finished_after_the_last_step_if_there_is_a_table(pipeline, monkeypatch):
    model, finished = pipeline.model, []
    place = "nerfstudio_avatars.unsup_volanim.model.solve_last_layer"
    monkeypatch.setattr(place, lambda *given: finished.append(given))
    model.config.max_steps = 10
    _, after = pipeline.get_training_callbacks(callback_attributes())
    after.run_callback_at_location(9, TrainingCallbackLocation.AFTER_TRAIN_ITERATION)
    assert not finished, "there is no table"
    model.table = PartPoseTable(4, 2, PartPoseTableConfig())
    for step in range(10):
        after.run_callback_at_location(step, TrainingCallbackLocation.AFTER_TRAIN_ITERATION)
        assert len(finished) == (step == 9)
    assert finished == [(model.network, model.table, model.clips)]


def test_pictures_at_the_switch_are_equal_but_for_the_noise(model, camera):
    cube, poses = model.cube_of_identity(0), model.driving_pose(1, 3)
    before = model.render_identity(camera, cube, poses)["rgb"]
    errors = []
    for noise in (0.0, 0.001, 0.01):
        other = deepcopy(model)
        other.config.part_noise = noise
        other.begin_step(other.config.max_steps)
        after = other.render_identity(camera, other.cube_of_identity(0), other.driving_pose(1, 3))["rgb"]
        errors.append((after - before).abs().mean().item())
    assert errors[0] < 1e-5 < errors[1] < errors[2] < 0.05 and errors[1] < 0.01, errors


def test_the_switch_is_the_same_on_every_process_and_leaves_their_randomness_alone(model):
    tables = []
    for seed in (1, 2):
        other = deepcopy(model)
        torch.manual_seed(seed)
        expected = torch.rand(3)
        torch.manual_seed(seed)
        other.begin_step(other.config.max_steps)
        torch.testing.assert_close(torch.rand(3), expected)
        tables.append(other.network.point_logits)
    torch.testing.assert_close(tables[0], tables[1])
    assert (tables[0][0] - tables[0][1]).abs().max() > 1e-3


def test_parts_go_their_own_ways_afterwards(pipeline):
    model = pipeline.model
    model.config.max_steps = 10
    model.config.schedule = AnimationScheduleConfig(articulate_from=0.0, patch=16)
    assert model.begin_step(9)
    adam = torch.optim.Adam(model.network.parameters(), lr=1e-3)
    points = model.network.point_logits.detach().clone()
    for step in range(20):
        terms = pipeline.get_train_loss_dict(step)[1]
        adam.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        adam.step()
    moved = model.network.point_logits.detach() - points
    assert (moved[0] - moved[1]).abs().mean() > 0.2 * moved.abs().mean() > 0


def test_without_a_search_there_is_no_table_of_poses(head_clips, small_volanim, tmp_path):
    config = small_volanim(head_clips, tmp_path)
    config.pipeline.model.schedule = AnimationScheduleConfig()
    pipeline = config.pipeline.setup(device="cpu")
    assert pipeline.model.search is None
    assert "found" not in pipeline.get_train_loss_dict(0)[1]


def test_the_search_has_a_row_for_every_frame_of_every_clip(model):
    clips = model.clips.table
    assert len(model.search.rotation) == sum(clip.frames for clip in clips)
    starts = model._first_row.tolist()
    assert starts == [sum(clip.frames for clip in list(clips)[:number]) for number in range(len(clips))]


def test_masks_fade_within_each_phase(pipeline):
    model = pipeline.model
    model.config.max_steps, model.config.schedule.mask_decay = 100, 0.01
    losses = []
    for step in (36, 69):
        model.begin_step(step)
        torch.manual_seed(0)
        losses.append(pipeline.get_train_loss_dict(0)[1]["mask"].item())
    assert losses[1] < 0.05 * losses[0]


class Features:
    """Stands for VGG19."""

    trunk = SimpleNamespace(name="vgg19")

    def to(self, _):
        return self

    def __call__(self, rendered, target):
        return (rendered - target).square().mean()


def test_the_papers_choices_train(head_clips, small_volanim, tmp_path):
    config = unsup_volanim_as_published(small_volanim(head_clips, tmp_path))
    config.pipeline.model.perceptual = "off"
    pipeline = config.pipeline.setup(device="cpu")
    pipeline.model._perceptual = [Features()]
    assert pipeline.model.network.config.pose == "epnp" and pipeline.model.search is None
    pipeline.model.begin_step(0)
    terms = pipeline.get_train_loss_dict(0)[1]
    assert {"perceptual", "equivariance", "projection", "mask"} <= set(terms) and "pixel" not in terms
    torch.stack(list(terms.values())).sum().backward()
    assert all(one.grad is None or one.grad.isfinite().all() for one in pipeline.model.network.parameters())


# Pictures -------------------------------------------------------------------------------------------------------------


def test_a_camera_gives_all_pictures(model, camera):
    seen = model.get_outputs_for_camera(camera)
    channels = {name: value.shape[-1] for name, value in seen.items()}
    assert channels == {"rgb": 3, "accumulation": 1, "depth": 1, "normal": 3, "parts": 3}, "all that nerfstudio shows"
    assert all(value.shape[:2] == (SIZE, SIZE) and value.isfinite().all() for value in seen.values())
    solid = seen["accumulation"] > 0.9
    assert solid.float().mean() > 0.1
    assert (seen["depth"][solid] - 10.5).abs().max() < 1.05
    assert (seen["depth"][seen["accumulation"] < 0.5] == 11.5).all()


def test_pieces_that_fit_in_memory_make_the_same_picture(model, camera, monkeypatch, capsys):
    whole = model.get_outputs_for_camera(camera)["rgb"]
    render, pieces = model.network.render, []

    def in_little_memory(cubes, poses, rays, *options, **named):
        if len(rays) > 300:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        pieces.append(len(rays))
        return render(cubes, poses, rays, *options, **named)

    monkeypatch.setattr(model.network, "render", in_little_memory)
    for _ in range(2):
        torch.testing.assert_close(model.get_outputs_for_camera(camera)["rgb"], whole)
    assert max(pieces) == 256 and sum(pieces) == 2 * whole[..., 0].numel()
    assert capsys.readouterr().out.count("Memory does not suffice") == 1


def test_bundles_of_rays_are_refused_with_a_reason(model):
    with pytest.raises(NotImplementedError, match="get_outputs_for_camera"):
        model.get_outputs(None)


def test_the_camera_its_time_or_the_clicked_one_say_what_drives(model, camera):
    assert model.resolver.frame_for(camera) == (1, 3)
    camera.metadata = {}
    camera.times = torch.tensor([[0.4]])
    assert model.resolver.frame_for(camera) == (0, 6)
    camera.times, camera.metadata = None, {"cam_idx": 20}
    assert list(model.resolver.frame_for(camera)) == model.clips.train_rows()[20].tolist()
    camera.metadata = None
    assert model.resolver.frame_for(camera) == (0, 0)


def test_a_random_identity_is_drawn_from_its_code(model):
    with model.network.evaluating():
        expected = model.network.cubes_of(model.random_code(3))[0]
    torch.testing.assert_close(model.random_cube(3), expected)
    assert (model.random_cube(4) != expected).any()


def test_turning_the_object_is_going_round_it(model, camera):
    """Round the scene's middle, where the unmoved object stands."""
    cube = model.cube_of_identity(0)
    turned = model.render_identity(camera, cube, identity_poses(1, 1).turned(0.4, 0.0, torch.zeros(1, 1, 3)))
    still = model.render_identity(camera, cube, identity_poses(1, 1))
    round_it = deepcopy(camera)
    turn = axis_angle_to_matrix(torch.tensor([0.0, 0.0, -0.4]))
    round_it.camera_to_worlds = (turn @ camera.camera_to_worlds[0])[None]
    seen = model.render_identity(round_it, cube, identity_poses(1, 1))
    difference = (turned["accumulation"] - still["accumulation"]).abs().mean()
    assert (seen["accumulation"] - turned["accumulation"]).abs().mean() < 0.2 * difference


def test_without_normals_all_else_is_the_same(model, camera):
    cube, poses = model.cube_of_identity(0), model.driving_pose(0, 0)
    whole, quick = (model.render_identity(camera, cube, poses, normals=wanted) for wanted in (True, False))
    assert set(whole) - set(quick) == {"normal"}
    assert all(torch.equal(quick[name], whole[name]) for name in quick)


def test_hidden_parts_are_not_seen(model, camera):
    model.begin_step(model.config.max_steps)
    cube, poses = model.cube_of_identity(0), model.driving_pose(0, 0)
    whole = model.render_identity(camera, cube, poses)
    first = model.render_identity(camera, cube, poses, torch.tensor([1.0, 0.0]))
    second = model.render_identity(camera, cube, poses, torch.tensor([0.0, 1.0]))
    both = whole["part_shares"].amin(-1) > 0.2
    assert both.any(), "two parts are there"
    for one in (first, second):
        assert (one["accumulation"] <= whole["accumulation"] + 1e-4).all()
        assert (one["accumulation"] < whole["accumulation"] - 1e-3).any()
    assert model.render_identity(camera, cube, poses, torch.zeros(2))["accumulation"].max() == 0


def test_poses_and_cubes_are_kept_until_the_network_changes(model, monkeypatch):
    first, cube = model.driving_pose(0, 0), model.cube_of_identity(0)
    assert model.driving_pose(0, 0) is first and model.cube_of_identity(0) is cube
    monkeypatch.setattr(model._poses, "size", 2)
    for frame in (1, 2):
        model.driving_pose(0, frame)
    assert list(model._poses) == [(0, 1), (0, 2)]
    model.begin_step(0)
    assert not model._poses and not model._cubes


def test_without_any_loss_that_compares_pictures_there_is_no_training(pipeline):
    pipeline.model.config.losses.pixel = 0.0
    with pytest.raises(RuntimeError, match="No loss compares pictures"):
        pipeline.get_train_loss_dict(0)


def test_only_some_strangers_are_kept(model, monkeypatch):
    monkeypatch.setattr(model._inverted, "size", 1)
    strangers = model.clips.table.of_split("test")
    assert len(strangers) > 1
    for clip in strangers:
        model.cube_of_clip(clip)
    assert list(model._inverted) == strangers[-1:]


def test_somebody_never_trained_on_is_found_from_the_first_frame(model, capsys):
    clips = model.clips.table
    stranger = clips.of_split("test")[0]
    state = torch.get_rng_state()
    cube = model.cube_of_clip(stranger)
    assert cube.shape == model.cube_of_clip(0).shape and cube.isfinite().all()
    assert model.cube_of_clip(stranger) is cube
    assert capsys.readouterr().out.count("was not trained on") == 1
    assert torch.equal(torch.get_rng_state(), state)


def test_strangers_are_found_anew_only_when_they_are_asked_for_again(model, capsys):
    model.config.schedule.articulate_from = 1.0
    stranger = model.clips.table.of_split("test")[0]
    cube = model.cube_of_clip(stranger)
    for step in (1, 2):
        model.begin_step(step)
        assert model.cube_of_clip(stranger) is cube, "the same clip stays chosen while the network learns"
    model.cube_of_clip(0)
    assert model.cube_of_clip(stranger) is not cube
    assert capsys.readouterr().out.count("was not trained on") == 2


def test_strangers_are_found_with_the_masks_of_the_data(model, monkeypatch):
    asked = []
    stranger = model.clips.table.of_split("test")[0]
    monkeypatch.setattr(
        model, "invert", lambda _, masks: asked.append(masks) or SimpleNamespace(cube=torch.zeros(5, 2, 2, 2))
    )
    model.cube_of_clip(stranger)
    assert asked[0].shape == (1, SIZE, SIZE) and 0.1 < asked[0].mean() < 0.9


def test_losses_change_with_the_phase(pipeline):
    model = pipeline.model
    model.config.max_steps = 100
    model.config.losses.articulated_mask = 0.0
    model.begin_step(0)
    assert "mask" in pipeline.get_train_loss_dict(0)[1]
    model.begin_step(99)
    assert "mask" not in pipeline.get_train_loss_dict(0)[1]


def test_held_out_frames_are_measured(pipeline, monkeypatch):
    model = pipeline.model.eval()
    camera, batch = pipeline.datamanager.next_eval_image(0)
    metrics, images = model.get_image_metrics_and_images(model.get_outputs_for_camera(camera), batch)
    assert set(metrics) == {"l1", "psnr", "ssim", "mask_iou"}
    assert all(math.isfinite(value) for value in metrics.values()) and 0 <= metrics["mask_iou"] <= 1
    assert images["img"].shape == (SIZE, 4 * SIZE, 3)
    batch["has_mask"] = torch.tensor(False)
    outputs = model.get_outputs_for_camera(camera)
    assert math.isnan(model.get_image_metrics_and_images(outputs, batch)[0]["mask_iou"]), "as others have one"
    monkeypatch.setattr(model, "clips", replace(model.clips, has_masks=False))
    assert "mask_iou" not in model.get_image_metrics_and_images(outputs, batch)[0]


# Checkpoints ----------------------------------------------------------------------------------------------------------


def test_names_decide_which_row_is_whose(model, capsys):
    state = deepcopy(model.state_dict())
    other = deepcopy(model)
    names = other.clips.identities
    other.clips = replace(other.clips, identities=[names[2], "somebody new", names[0], names[3]])
    before = model.network.embedding.table
    other.load_state_dict(state)
    after = other.network.embedding.table
    torch.testing.assert_close(after[[0, 2, 3]], before[[2, 0, 3]])
    torch.testing.assert_close(after[1], before.mean(0))
    assert "3 known, 1 new" in capsys.readouterr().out


def test_poses_found_are_forgotten_when_clips_are_longer_by_now(model):
    """The same identities, other frames."""
    state = deepcopy(model.state_dict())
    for name in ("rotation", "translation"):
        state[f"search.{name}"] = torch.cat([state[f"search.{name}"]] * 2)
    state["search.rotation"] += 1
    before = model.search.rotation.clone()
    model.load_state_dict(state)
    torch.testing.assert_close(model.search.rotation, before)


def test_the_perceptual_network_is_neither_saved_nor_trained(model):
    assert all(name.startswith(("network.", "search.", "device_", "_extra")) for name in model.state_dict())
