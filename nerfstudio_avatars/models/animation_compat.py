"""Unsupervised Volumetric Animation as published, where our defaults differ."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nerfstudio_avatars.models.unsup_volanim import UnsupVolanimModelConfig
    from nerfstudio_avatars.optimizers import ClippedAdamConfig, PhasedScheduleConfig

EPOCHS = 100
"""Of each phase."""
G_STEPS, A_STEPS = 305_000, 1_222_000
"""With VoxCeleb's 19,550 clips on eight GPUs."""
NOISE_STEPS = 100_000
"""Over which noise on the density falls to 0, in either phase."""


def reference_animation(config: UnsupVolanimModelConfig) -> UnsupVolanimModelConfig:
    """The paper's choices: plain EPnP, batch norm, features alone as the reconstruction loss, no bootstrap, the plate.

    Weights and shares of the training are those for VoxCeleb: a fifth of the steps is the G-phase, then noise, rates
    and losses begin anew. A configuration without one of the two phases stays without it. Sizes (parts, cube, detector,
    samples, batch) stay as configured. What remains different: images are resized by area, pixels are squares instead
    of points (no `align_corners` for pictures), the mask loss knows object and background only, what decays by epochs
    decays by steps, poses are solved in float64, and the pull loss averages over all processes.
    """
    config = deepcopy(config)
    network = config.network
    network.pose, network.prior_slope, network.detail = "epnp", 0.0, 0.0
    network.render.background = "plate"
    network.generator.norm, network.generator.coarse_outputs, network.generator.first_colour = "batch", False, 0.0
    network.generator.density_scale, network.detector.norm, network.detector.positional_bias = 1.0, "batch", 0.0
    losses = config.losses
    losses.pixel, losses.perceptual = 0.0, 10.0
    losses.equivariance, losses.projection = 10.0, 10.0
    losses.pull, losses.pull_threshold, losses.articulated_pull, losses.articulated_pull_threshold = 10, 0.1, 200, 0.01
    losses.mask, losses.articulated_mask, losses.mask_as_logits = 10.0, 0.0, True
    schedule = config.schedule
    schedule.bootstrap_until, schedule.search_until, schedule.patch = 0.0, 0.0, None
    if 0 < schedule.articulate_from < 1:
        schedule.articulate_from = G_STEPS / (G_STEPS + A_STEPS)
    schedule.density_noise = 0.5
    schedule.noise_until, schedule.noise_again_until = NOISE_STEPS / G_STEPS, NOISE_STEPS / A_STEPS
    schedule.mask_decay = 0.8**EPOCHS
    config.part_noise = 0.0
    return config


def reference_rates(optimizer: ClippedAdamConfig, scheduler: PhasedScheduleConfig) -> None:
    """The paper's learning rate: falls tenfold after 60 and 90 of each phase's 100 epochs."""
    optimizer.lr, optimizer.betas, optimizer.clip = 5e-4, (0.5, 0.999), 0.1
    scheduler.rates, scheduler.plateau, scheduler.warm_up, scheduler.milestones = (1.0,), 1.0, 0, (0.6, 0.9)
