"""The papers' own choices as separate methods: `instant-avatar-paper`, `unsup-volanim-paper` and, for the second data
set of its paper, `unsup-volanim-paper-tedx`.

Each function takes one of our configurations and returns a copy in which all options are set as in the paper or its
published code. The `config.yml` of a run then says what ran, as for any other method.
"""

from __future__ import annotations

import dataclasses
from copy import deepcopy
from typing import TYPE_CHECKING

from nerfstudio_avatars.instant_avatar.field.hash_field import HashFieldConfig
from nerfstudio_avatars.unsup_volanim.data.dataparsers import TedxPeopleDataParserConfig

if TYPE_CHECKING:
    from nerfstudio_avatars.nerfstudio_glue.trainer import AvatarTrainerConfig

_EPOCHS = 100
"""Epochs of each phase of Unsupervised Volumetric Animation."""
_G_STEPS, _A_STEPS = 305_000, 1_222_000
"""Steps of its two phases for the 19,550 clips of VoxCeleb on eight GPUs."""
_NOISE_STEPS = 100_000
"""Steps over which the noise on its density falls to 0, in either phase."""


def instant_avatar_as_published(config: AvatarTrainerConfig) -> AvatarTrainerConfig:
    """InstantAvatar as in its published code (tijiang13/InstantAvatar), for comparison; slower.

    It uses Broyden's search instead of posed cells, one occupancy grid for all frames, ReLU density without a template,
    noise on the density in early steps, four patches of one frame per step, an almost constant learning rate, and fixed
    training poses.
    """
    config = deepcopy(config)
    config.method_name = "instant-avatar-paper"
    model, datamanager = config.pipeline.model, config.pipeline.datamanager
    model.avatar = dataclasses.replace(
        model.avatar,
        field=HashFieldConfig(levels=16, log2_table_size=19, base_resolution=16, per_level_scale=1.5, width=64),
        density="relu",
        articulation="broyden",
        empty_space="union",
        template_prior=0.0,
        follow_clothes=False,
        step=2 / 256,
        max_samples=256,
    )
    model.density_noise_steps, model.refine_poses, model.frame_light = 1000, False, False
    model.regulariser_weight, model.outlier_weight = 1.0, 1.0
    datamanager.sampler, datamanager.frames_per_batch, datamanager.rays_per_frame = "patch", 1, 4 * 32 * 32
    datamanager.dataparser.half_pixel, datamanager.dataparser.decontaminate_edges = "reference", False
    config.optimizers["field"]["optimizer"].lr = 1e-2
    config.optimizers["field"]["scheduler"].final_share = 0.88
    return config


def unsup_volanim_as_published(config: AvatarTrainerConfig) -> AvatarTrainerConfig:
    """Unsupervised Volumetric Animation as published; needs VGG19 and a large data set.

    It uses plain EPnP, batch norm, only features in the reconstruction loss, no bootstrap, the plate behind the object,
    and a learning rate that falls tenfold after 60 and 90 of the 100 epochs of each phase. Loss weights and phases are
    those for VoxCeleb: the G-phase takes a fifth of the steps, after which noise, rates and losses start again. A
    configuration without one of the two phases is left without it. Sizes (parts, cube, detector, samples, batch) are
    left as configured.

    These differences remain: images are resized by area, pixels are squares instead of points (no `align_corners` for
    pictures), the mask loss distinguishes object and background only, decay is per step instead of per epoch, poses are
    solved in float64, and the pull loss averages over all processes.
    """
    config = deepcopy(config)
    config.method_name = "unsup-volanim-paper"
    model = config.pipeline.model
    network = model.network
    network.pose, network.prior_slope, network.detail = "epnp", 0.0, 0.0
    network.render.background, network.render.skinning = "plate", "blend"
    network.shared_parts, network.part_detector = 0.0, "keypoints"
    network.generator.norm, network.generator.coarse_outputs, network.generator.first_colour = "batch", False, 0.0
    network.generator.doublings = 0
    network.generator.density_scale, network.detector.norm, network.detector.positional_bias = 1.0, "batch", 0.0
    losses = model.losses
    losses.pixel, losses.perceptual = 0.0, 10.0
    losses.equivariance, losses.projection = 10.0, 10.0
    losses.pull, losses.pull_threshold, losses.articulated_pull, losses.articulated_pull_threshold = 10, 0.1, 200, 0.01
    losses.mask, losses.articulated_mask, losses.mask_as_logits = 10.0, 0.0, True
    schedule = model.schedule
    schedule.bootstrap_until, schedule.search_until, schedule.patch = 0.0, 0.0, None
    schedule.articulation = "detector"
    if 0 < schedule.articulate_from < 1:
        schedule.articulate_from = _G_STEPS / (_G_STEPS + _A_STEPS)
    schedule.density_noise = 0.5
    schedule.noise_until, schedule.noise_again_until = _NOISE_STEPS / _G_STEPS, _NOISE_STEPS / _A_STEPS
    schedule.mask_decay = 0.8**_EPOCHS
    model.part_noise = 0.0
    optimizer, scheduler = config.optimizers["network"]["optimizer"], config.optimizers["network"]["scheduler"]
    optimizer.lr, optimizer.betas, optimizer.clip = 5e-4, (0.5, 0.999), 0.1
    scheduler.rates, scheduler.plateau, scheduler.warm_up, scheduler.milestones = (1.0,), 1.0, 0, (0.6, 0.9)
    return config


def unsup_volanim_as_published_for_tedx(config: AvatarTrainerConfig) -> AvatarTrainerConfig:
    """Unsupervised Volumetric Animation as published for TEDXPeople, clips of speakers' upper bodies.

    What differs from VoxCeleb: the batches of the G-phase are 2.5 times as large, so that it takes an eleventh of the
    steps instead of a fifth, and masks are used in the A-phase too, with a weight of 1 that falls by a tenth in each
    epoch. The paper compares masks of ten parts there, which a network of others predicts; ours tell the object from
    the background.
    """
    config = unsup_volanim_as_published(config)
    config.method_name = "unsup-volanim-paper-tedx"
    config.pipeline.datamanager.dataparser = TedxPeopleDataParserConfig(
        image_size=config.pipeline.datamanager.dataparser.image_size
    )
    model = config.pipeline.model
    model.losses.articulated_mask, model.schedule.articulated_mask_decay = 1.0, 0.9**_EPOCHS
    if 0 < model.schedule.articulate_from < 1:
        g_steps, a_steps = 10 / 20, 20 / 4  # for each clip: repeats in an epoch over frames in a batch
        model.schedule.articulate_from = g_steps / (g_steps + a_steps)
    return config
