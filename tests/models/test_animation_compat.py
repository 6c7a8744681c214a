"""The published method's choices, made in one place."""

from copy import deepcopy

from nerfstudio_avatars.methods import unsup_volanim, unsup_volanim_tiny
from nerfstudio_avatars.models.animation_compat import reference_animation
from nerfstudio_avatars.models.animation_training import AnimationAids


def test_the_papers_choices_take_the_place_of_ours():
    model = reference_animation(unsup_volanim.config.pipeline.model)
    network, losses = model.network, model.losses
    assert network.pose == "epnp" and network.prior_slope == 0 and network.render.background == "plate"
    assert network.generator.norm == network.detector.norm == "batch" and not network.generator.coarse_outputs
    assert network.generator.first_colour == 0 and network.detector.positional_bias == 0
    assert losses.pixel == losses.self_pose == 0
    assert {losses.perceptual, losses.equivariance, losses.projection, losses.pull} == {10.0}
    assert model.part_noise == 0


def test_sizes_stay_and_so_does_the_configuration_given():
    given = unsup_volanim_tiny.config.pipeline.model
    before = deepcopy(given)
    model = reference_animation(given)
    assert given == before != model
    assert model.network.generator.widths == given.network.generator.widths
    assert model.network.parts == given.network.parts and model.network.render.samples == given.network.render.samples


def test_nothing_helps_at_the_start():
    schedule = reference_animation(unsup_volanim_tiny.config.pipeline.model).schedule
    assert schedule.phase(0.0) == "geometry"
    aids = schedule.aids(0.0, None)
    assert aids == AnimationAids(progress=1.0, density_noise=schedule.density_noise)
