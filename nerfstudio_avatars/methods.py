"""The registered methods, as configuration only. Imports stay light, because every `ns-*` command loads this module."""

from __future__ import annotations

from copy import deepcopy

from nerfstudio.configs.base_config import LoggingConfig, ViewerConfig
from nerfstudio.plugins.types import MethodSpecification

from nerfstudio_avatars.instant_avatar.avatar import CanonicalAvatarConfig
from nerfstudio_avatars.instant_avatar.data.frame_rays import FrameRaysDataManagerConfig
from nerfstudio_avatars.instant_avatar.data.people_snapshot import PeopleSnapshotDataParserConfig
from nerfstudio_avatars.instant_avatar.field.hash_field import HashFieldConfig
from nerfstudio_avatars.instant_avatar.model import InstantAvatarModelConfig
from nerfstudio_avatars.nerfstudio_glue import patches
from nerfstudio_avatars.nerfstudio_glue.optimizers import (
    ClippedAdamConfig,
    DecayScheduleConfig,
    FusedAdamConfig,
    PhasedScheduleConfig,
)
from nerfstudio_avatars.nerfstudio_glue.pipelines import AvatarPipelineConfig, FramesPipelineConfig
from nerfstudio_avatars.nerfstudio_glue.trainer import AvatarTrainerConfig
from nerfstudio_avatars.reference_methods import (
    instant_avatar_as_published,
    unsup_volanim_as_published,
    unsup_volanim_as_published_for_tedx,
)
from nerfstudio_avatars.unsup_volanim.data.clip_frames import ClipFramesDataManagerConfig
from nerfstudio_avatars.unsup_volanim.data.dataparsers import VoxCelebDataParserConfig
from nerfstudio_avatars.unsup_volanim.keypoint_detector import KeypointDetectorConfig
from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModelConfig
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimationConfig
from nerfstudio_avatars.unsup_volanim.schedule import AnimationScheduleConfig
from nerfstudio_avatars.unsup_volanim.training import AnimationLossConfig
from nerfstudio_avatars.unsup_volanim.voxel_field import VoxelGeneratorConfig
from nerfstudio_avatars.unsup_volanim.voxel_render import VoxelRenderConfig

patches.heal()

_gpu = AvatarTrainerConfig(
    method_name="instant-avatar",
    max_num_iterations=3000,
    steps_per_eval_batch=0,
    steps_per_eval_image=500,
    steps_per_eval_all_images=0,
    steps_per_save=1000,
    mixed_precision=False,
    vis="viewer+tensorboard",
    pipeline=AvatarPipelineConfig(
        datamanager=FrameRaysDataManagerConfig(
            dataparser=PeopleSnapshotDataParserConfig(), frames_per_batch=4, rays_per_frame=1024
        ),
        model=InstantAvatarModelConfig(
            avatar=CanonicalAvatarConfig(field=HashFieldConfig(levels=16, log2_table_size=19, per_level_scale=1.5))
        ),
    ),
    optimizers={
        "field": {"optimizer": FusedAdamConfig(lr=2e-2), "scheduler": DecayScheduleConfig()},
        "pose": {
            # `eps` near the size of true gradients: a hand's are a hundredth of the root's, and mostly noise.
            "optimizer": FusedAdamConfig(lr=2.5e-3, eps=3e-3),
            "scheduler": DecayScheduleConfig(shape="exponential", final_share=0.05),
        },
        "light": {
            "optimizer": FusedAdamConfig(lr=5e-3),
            "scheduler": DecayScheduleConfig(shape="exponential", final_share=0.05),
        },
        "bones": {
            "optimizer": FusedAdamConfig(lr=3e-4),
            "scheduler": DecayScheduleConfig(shape="exponential", final_share=0.05),
        },
    },
    # nerfstudio's default serves the viewer to the whole network; ask for that with --viewer.websocket-host 0.0.0.0.
    viewer=ViewerConfig(websocket_host="127.0.0.1"),
    logging=LoggingConfig(),
)

_cpu = deepcopy(_gpu)
_cpu.method_name = "instant-avatar-cpu"
_cpu.max_num_iterations = 1500
_cpu.machine.device_type = "cpu"
_cpu.pipeline.datamanager.frames_per_batch, _cpu.pipeline.datamanager.rays_per_frame = 3, 512
_cpu.pipeline.model.avatar.field = HashFieldConfig(levels=10, log2_table_size=16, per_level_scale=1.45)
_cpu.pipeline.model.avatar.cell_size = 0.03

_volanim = AvatarTrainerConfig(
    method_name="unsup-volanim",
    max_num_iterations=60_000,
    steps_per_eval_batch=0,
    steps_per_eval_image=1000,
    steps_per_eval_all_images=0,
    steps_per_save=2000,
    mixed_precision=False,
    vis="viewer+tensorboard",
    pipeline=FramesPipelineConfig(
        datamanager=ClipFramesDataManagerConfig(
            dataparser=VoxCelebDataParserConfig(image_size=256), identities_per_batch=8, frames_per_identity=4
        ),
        model=UnsupVolanimModelConfig(
            network=VolumetricAnimationConfig(
                parts=10,
                prior_slope=6.0,
                generator=VoxelGeneratorConfig(density_scale=10.0, norm="group", coarse_outputs=True),
                detector=KeypointDetectorConfig(norm="group", positional_bias=0.15),
                render=VoxelRenderConfig(samples=64),
            ),
            losses=AnimationLossConfig(pixel=10.0, perceptual=1.0, mask=1.0, pull=0.0),
            schedule=AnimationScheduleConfig(
                bootstrap_until=0.15,
                search_until=0.4,
                articulate_from=0.5,
                bootstrap_size=64,
                bootstrap_levels=3,
            ),
        ),
    ),
    optimizers={
        "network": {
            "optimizer": ClippedAdamConfig(lr=1e-3),
            "scheduler": PhasedScheduleConfig(rates=(1.0, 0.5, 0.5)),
        }
    },
    viewer=ViewerConfig(websocket_host="127.0.0.1"),
    logging=LoggingConfig(),
)

_volanim_tiny = deepcopy(_volanim)
_volanim_tiny.method_name = "unsup-volanim-tiny"
_volanim_tiny.max_num_iterations = 2400
_volanim_tiny.machine.device_type = "cpu"
_volanim_tiny.pipeline.datamanager.dataparser.image_size = 64
_volanim_tiny.pipeline.datamanager.identities_per_batch = 3
_volanim_tiny.pipeline.datamanager.frames_per_identity = 3
_volanim_tiny.pipeline.model.network = VolumetricAnimationConfig(
    parts=2,
    points_per_edge=3,
    prior_slope=6.0,
    detail=3.0,
    generator=VoxelGeneratorConfig(
        code_size=16, widths=(48, 32, 16, 8), norm="group", density_scale=10.0, coarse_outputs=True
    ),
    detector=KeypointDetectorConfig(input_size=32, widths=(16, 24, 32, 48), head=3, norm="group", positional_bias=0.15),
    render=VoxelRenderConfig(samples=16, background="slab"),
)
_volanim_tiny.pipeline.model.losses = AnimationLossConfig(
    perceptual=0.0, equivariance=1.0, projection=1.0, pull=0.0, mask=1.0
)
_volanim_tiny.pipeline.model.schedule = AnimationScheduleConfig(
    bootstrap_until=0.4, search_until=0.7, articulate_from=0.7, detect_from=0.2, bootstrap_levels=2, patch=32
)
_volanim_tiny.optimizers["network"] = {
    "optimizer": ClippedAdamConfig(lr=3e-3),
    "scheduler": PhasedScheduleConfig(rates=(1.0, 0.66, 0.33), plateau=0.8, final_share=0.3),
}

instant_avatar_paper = MethodSpecification(
    instant_avatar_as_published(_gpu),
    description="InstantAvatar with all choices of its paper and published code, for comparison; slower.",
)
unsup_volanim_paper = MethodSpecification(
    unsup_volanim_as_published(_volanim),
    description="Unsupervised Volumetric Animation with all choices of its paper; needs VGG19 and a large data set.",
)
unsup_volanim_paper_tedx = MethodSpecification(
    unsup_volanim_as_published_for_tedx(_volanim),
    description="Unsupervised Volumetric Animation with its paper's choices for TEDXPeople, clips of upper bodies.",
)
instant_avatar = MethodSpecification(
    _gpu, description="InstantAvatar: an animatable person from one video, in a minute (Jiang et al. 2023)."
)
instant_avatar_cpu = MethodSpecification(
    _cpu, description="InstantAvatar sized for a computer without a GPU: smaller hash table, fewer rays per step."
)
unsup_volanim = MethodSpecification(
    _volanim,
    description="Unsupervised Volumetric Animation: faces driven by videos of others (Siarohin et al. 2023).",
)
unsup_volanim_tiny = MethodSpecification(
    _volanim_tiny, description="Unsupervised Volumetric Animation sized for a computer without a GPU: small and soft."
)
