"""The published method's choices, made in one place."""

from copy import deepcopy

import pytest
import torch
import yaml

from nerfstudio_avatars.methods import (
    instant_avatar,
    instant_avatar_paper,
    unsup_volanim,
    unsup_volanim_paper,
    unsup_volanim_paper_tedx,
    unsup_volanim_tiny,
)
from nerfstudio_avatars.nerfstudio_glue.trainer import fit_schedules
from nerfstudio_avatars.reference_methods import instant_avatar_as_published, unsup_volanim_as_published
from nerfstudio_avatars.unsup_volanim.training import AnimationAids


def test_the_papers_choices_take_the_place_of_ours():
    model = unsup_volanim_as_published(unsup_volanim.config).pipeline.model
    network, losses = model.network, model.losses
    assert network.pose == "epnp" and network.prior_slope == 0 and network.render.background == "plate"
    assert network.generator.norm == network.detector.norm == "batch" and not network.generator.coarse_outputs
    assert network.generator.first_colour == 0 and network.detector.positional_bias == 0
    assert losses.pixel == 0
    assert {losses.perceptual, losses.equivariance, losses.projection, losses.pull} == {10.0}
    assert model.part_noise == 0
    assert network.render.skinning == "blend" and network.part_detector == "keypoints" and not network.shared_parts
    assert model.schedule.articulation == "detector"


def test_sizes_stay_and_so_does_the_configuration_given():
    config = unsup_volanim_tiny.config
    before = deepcopy(config)
    model, given = unsup_volanim_as_published(config).pipeline.model, config.pipeline.model
    assert config == before and given != model
    assert model.network.generator.widths == given.network.generator.widths
    assert model.network.parts == given.network.parts and model.network.render.samples == given.network.render.samples


def test_nothing_helps_at_the_start():
    schedule = unsup_volanim_as_published(unsup_volanim_tiny.config).pipeline.model.schedule
    assert schedule.phase(0.0) == "geometry"
    aids = schedule.aids(0.0, None)
    assert aids == AnimationAids(progress=1.0, density_noise=schedule.density_noise)


def test_losses_and_noise_of_either_phase():
    model = unsup_volanim_as_published(unsup_volanim.config).pipeline.model
    first, second = model.losses, model.losses.when_articulated()
    assert (first.pull, first.pull_threshold, first.mask) == (10, 0.1, 10)
    assert (second.pull, second.pull_threshold, second.mask) == (200, 0.01, 0)
    assert second.perceptual == first.perceptual
    schedule = model.schedule
    switch = schedule.articulate_from
    assert switch == pytest.approx(0.2, abs=0.001)
    steps = 1_527_000
    noise = [schedule.aids(step / steps, None).density_noise for step in (0, 50_000, 101_000)]
    assert noise == pytest.approx([0.5, 0.25, 0])
    again = [schedule.aids(switch + step / steps, None).density_noise for step in (0, 50_000, 101_000)]
    assert again == pytest.approx([0.5, 0.25, 0])
    epoch = switch / 100
    assert schedule.mask_decay ** schedule.within_phase(epoch) == pytest.approx(0.8)


def test_bodies_have_shorter_first_phases_and_masks_throughout():
    faces, bodies = unsup_volanim_paper.config.pipeline, unsup_volanim_paper_tedx.config.pipeline
    assert type(bodies.datamanager.dataparser).__name__ == "TedxPeopleDataParserConfig"
    assert bodies.datamanager.dataparser.image_size == faces.datamanager.dataparser.image_size
    schedule = bodies.model.schedule
    assert schedule.articulate_from == pytest.approx(1 / 11)
    assert (bodies.model.losses.when_articulated().mask, faces.model.losses.when_articulated().mask) == (1, 0)
    second_epoch = schedule.articulate_from * 2 / 100, 1 / 11 + 10 / 11 * 2 / 100
    assert [schedule.mask_factor(progress) for progress in second_epoch] == pytest.approx([0.8**2, 0.9**2])
    assert bodies.model.network == faces.model.network


def test_a_phase_left_out_stays_out():
    given = deepcopy(unsup_volanim.config)
    for start in (0.0, 1.0):
        given.pipeline.model.schedule.articulate_from = start
        assert unsup_volanim_as_published(given).pipeline.model.schedule.articulate_from == start


def test_rates_fall_tenfold_twice_in_each_phase():
    config = unsup_volanim_as_published(unsup_volanim.config)
    config.max_num_iterations = 1000
    fit_schedules(config)
    optimizer = config.optimizers["network"]["optimizer"].setup(params=[torch.nn.Parameter(torch.zeros(1))])
    lr = config.optimizers["network"]["optimizer"].lr
    factor = config.optimizers["network"]["scheduler"].setup().get_scheduler(optimizer, lr).lr_lambdas[0]
    first, second = [0, 100, 150, 190], [200, 600, 700, 950]
    assert [lr * factor(step) for step in first] == pytest.approx([5e-4, 5e-4, 5e-5, 5e-6])
    assert [lr * factor(step) for step in second] == pytest.approx([5e-4, 5e-4, 5e-5, 5e-6])
    assert unsup_volanim.config.optimizers["network"]["optimizer"].lr == 1e-3, "ours stays"


def test_instant_avatars_own_search_grid_density_and_sampling():
    config = instant_avatar_as_published(instant_avatar.config)
    avatar, manager = config.pipeline.model.avatar, config.pipeline.datamanager
    assert (avatar.articulation, avatar.empty_space, avatar.density) == ("broyden", "union", "relu")
    assert (manager.sampler, manager.frames_per_batch, manager.rays_per_frame) == ("patch", 1, 4096)
    assert manager.dataparser.half_pixel == "reference"
    assert not config.pipeline.model.refine_poses and config.pipeline.model.density_noise_steps == 1000
    assert instant_avatar.config.pipeline.model.avatar.articulation == "cells", "ours stays"


@pytest.mark.parametrize("method", [instant_avatar_paper, unsup_volanim_paper, unsup_volanim_paper_tedx])
def test_a_runs_configuration_says_what_ran(method):
    """What a saved config.yml holds is what the model is built with: nothing is rewritten on the way."""
    config = yaml.load(yaml.dump(method.config), Loader=yaml.Loader)
    fit_schedules(config)
    config.pipeline.model.max_steps = method.config.pipeline.model.max_steps
    assert config.pipeline.model == method.config.pipeline.model
    assert config.pipeline.datamanager == method.config.pipeline.datamanager
