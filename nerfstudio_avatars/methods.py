"""The registered methods: configuration only. Nothing here is heavy, because every `ns-*` command imports it."""

from __future__ import annotations

from copy import deepcopy

from nerfstudio.configs.base_config import LoggingConfig, ViewerConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig
from nerfstudio.plugins.types import MethodSpecification

from nerfstudio_avatars import nerfstudio_healing
from nerfstudio_avatars.data.datamanagers.frame_rays import FrameRaysDataManagerConfig
from nerfstudio_avatars.data.dataparsers.people_snapshot import PeopleSnapshotDataParserConfig
from nerfstudio_avatars.fields.hash_field import HashFieldConfig
from nerfstudio_avatars.models.canonical_avatar import CanonicalAvatarConfig
from nerfstudio_avatars.models.instant_avatar import InstantAvatarModelConfig
from nerfstudio_avatars.optimizers import DecayScheduleConfig, FusedAdamConfig
from nerfstudio_avatars.trainer import AvatarTrainerConfig

nerfstudio_healing.heal()

_gpu = AvatarTrainerConfig(
    method_name="instant-avatar",
    max_num_iterations=3000,
    steps_per_eval_batch=0,
    steps_per_eval_image=500,
    steps_per_eval_all_images=0,
    steps_per_save=1000,
    mixed_precision=False,
    vis="viewer+tensorboard",
    pipeline=VanillaPipelineConfig(
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
            "optimizer": FusedAdamConfig(lr=5e-3),
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
_cpu.pipeline.datamanager.rays_per_frame = 256
_cpu.pipeline.model.avatar.field = HashFieldConfig(levels=10, log2_table_size=16, per_level_scale=1.45)
_cpu.pipeline.model.avatar.cell_size = 0.03

instant_avatar = MethodSpecification(
    _gpu, description="InstantAvatar: an animatable person from one video, in a minute (Jiang et al. 2023)."
)
instant_avatar_cpu = MethodSpecification(
    _cpu, description="InstantAvatar sized for a computer without a GPU: smaller hash table, fewer rays a step."
)
