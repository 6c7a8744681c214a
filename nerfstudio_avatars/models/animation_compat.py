"""Unsupervised Volumetric Animation as published, where our defaults differ."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nerfstudio_avatars.models.unsup_volanim import UnsupVolanimModelConfig


def reference_animation(config: UnsupVolanimModelConfig) -> UnsupVolanimModelConfig:
    """The paper's choices: plain EPnP, batch norm, features alone as the reconstruction loss, no bootstrap, the plate.

    Sizes (parts, cube, detector, samples) stay as configured. What remains different: images are resized by area,
    pixels are squares instead of points (no `align_corners` for pictures), the mask loss is a true cross-entropy, poses
    are solved in float64, and the pull loss averages over all processes.
    """
    config = deepcopy(config)
    network = config.network
    network.pose, network.prior_slope, network.detail = "epnp", 0.0, 0.0
    network.render.background = "plate"
    network.generator.norm, network.generator.coarse_outputs, network.generator.first_colour = "batch", False, 0.0
    network.generator.density_scale, network.detector.norm, network.detector.positional_bias = 1.0, "batch", 0.0
    losses = config.losses
    losses.pixel, losses.perceptual, losses.self_pose = 0.0, 10.0, 0.0
    losses.equivariance, losses.projection, losses.pull, losses.mask = 10.0, 10.0, 10.0, 10.0
    config.schedule.bootstrap_until, config.schedule.search_until, config.schedule.patch = 0.0, 0.0, None
    config.part_noise = 0.0
    return config
