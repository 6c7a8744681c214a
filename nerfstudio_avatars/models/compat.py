"""The reference's behaviour (tijiang13/InstantAvatar): what `--pipeline.model.compat True` changes, in one place."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from nerfstudio_avatars.fields.hash_field import HashFieldConfig

if TYPE_CHECKING:
    from nerfstudio_avatars.models.instant_avatar import InstantAvatarModelConfig
    from nerfstudio_avatars.trainer import AvatarTrainerConfig


def reference_model(config: InstantAvatarModelConfig) -> InstantAvatarModelConfig:
    """The model's options as the reference has them."""
    avatar = dataclasses.replace(
        config.avatar,
        field=HashFieldConfig(levels=16, log2_table_size=19, base_resolution=16, per_level_scale=1.5, width=64),
        density="relu",
        articulation="broyden",
        empty_space="union",
        template_prior=0.0,
        step=2 / 256,
        max_samples=256,
    )
    return dataclasses.replace(
        config,
        avatar=avatar,
        density_noise_steps=1000,
        refine_poses=False,
        regulariser_weight=1.0,
        outlier_weight=1.0,
    )


def reference_training(config: AvatarTrainerConfig) -> None:
    """Sampling and learning rate as in the reference: four patches of one frame a step, a practically constant rate."""
    datamanager = config.pipeline.datamanager
    datamanager.sampler = "patch"
    datamanager.frames_per_batch = 1
    datamanager.rays_per_frame = 4 * 32 * 32
    datamanager.dataparser.half_pixel = "reference"
    datamanager.dataparser.decontaminate_edges = False
    config.optimizers["field"]["optimizer"].lr = 1e-2
    config.optimizers["field"]["scheduler"].final_share = 0.88
