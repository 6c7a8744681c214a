"""Unsupervised Volumetric Animation (Siarohin et al. 2023) as a nerfstudio model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
import tyro
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.models.base_model import Model, ModelConfig
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor, nn

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.memory import SMALLER_PICTURES, AtATime
from nerfstudio_avatars.nerfstudio_glue.kept_scene import KeptScene
from nerfstudio_avatars.unsup_volanim.data.clip_cameras import clip_cameras, clip_scene_box
from nerfstudio_avatars.unsup_volanim.data.clips import Clips
from nerfstudio_avatars.unsup_volanim.frame_resolver import FrameResolver
from nerfstudio_avatars.unsup_volanim.held_out_frames import held_out_figures
from nerfstudio_avatars.unsup_volanim.identity_rows import match_identities
from nerfstudio_avatars.unsup_volanim.inversion import IdentityInversionConfig, InvertedIdentity, invert_identity
from nerfstudio_avatars.unsup_volanim.kept_poses import KeptPoses, rows_to_keep
from nerfstudio_avatars.unsup_volanim.last_layer import solve_last_layer
from nerfstudio_avatars.unsup_volanim.last_used import LastUsed
from nerfstudio_avatars.unsup_volanim.lessons import Lessons
from nerfstudio_avatars.unsup_volanim.losses.perceptual import SCALES, PerceptualKind, find_perceptual
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation, VolumetricAnimationConfig
from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable, PartPoseTableConfig
from nerfstudio_avatars.unsup_volanim.part_search import PartSearchConfig
from nerfstudio_avatars.unsup_volanim.pose_search import PoseSearch, PoseSearchConfig
from nerfstudio_avatars.unsup_volanim.quick_inversion import invert_in_rounds
from nerfstudio_avatars.unsup_volanim.row_file import RowFile
from nerfstudio_avatars.unsup_volanim.scene_rays import scene_rays
from nerfstudio_avatars.unsup_volanim.schedule import AnimationScheduleConfig
from nerfstudio_avatars.unsup_volanim.training import AnimationBatch, AnimationLossConfig, animation_step
from nerfstudio_avatars.unsup_volanim.volume_rows import VolumeRows
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
from nerfstudio_avatars.unsup_volanim.voxel_render import VoxelPictures, as_images

T = TypeVar("T")
_FEWER_FRAMES = "Close other programs, or take fewer frames a step: --pipeline.datamanager.identities-per-batch."
"""What a user can do where memory does not suffice for a step."""
_REMEMBERED_POSES = 512
"""Number of driving frames whose poses are kept."""
_REMEMBERED_CUBES = 16
"""Number of identities whose cubes are kept, and of held-out people too."""


@dataclass
class UnsupVolanimModelConfig(ModelConfig):
    """Options of Unsupervised Volumetric Animation; the defaults are the recommended values."""

    _target: type = field(default_factory=lambda: UnsupVolanimModel)
    network: VolumetricAnimationConfig = field(default_factory=VolumetricAnimationConfig)
    """Options of the networks and of the cube that they generate."""
    losses: AnimationLossConfig = field(default_factory=AnimationLossConfig)
    """Weights that the losses are multiplied by."""
    schedule: AnimationScheduleConfig = field(default_factory=AnimationScheduleConfig)
    """Options that say when each part of the method is trained."""
    search: PoseSearchConfig = field(default_factory=PoseSearchConfig)
    """Options of the search for poses that is part of the bootstrap."""
    table: PartPoseTableConfig = field(default_factory=PartPoseTableConfig)
    """Options of the table of part poses, which `schedule.articulation table` has."""
    part_search: PartSearchConfig = field(default_factory=PartSearchConfig)
    """Options of the search for poses of parts in that table."""
    inversion: IdentityInversionConfig = field(default_factory=IdentityInversionConfig)
    """Options for fitting an identity that was not trained on to its pictures."""
    perceptual: PerceptualKind = "auto"
    """Network to use for the perceptual loss: `vgg19` needs a checkpoint, and `efficientnet` its package.
    With `auto`, the first one available is used, and with `off`, none is."""
    part_noise: float = 0.1
    """Strength of the noise that tells parts apart when the object becomes articulated; the paper uses 0."""
    eval_samples: int = 96
    """Number of samples to take along each ray in evaluation and viewing."""
    eval_num_rays_per_chunk: int = 1 << 14
    """Number of rays to render at a time for a picture."""
    max_steps: tyro.conf.Fixed[int] = 100_000
    """Number of training steps that the schedules refer to; `--max-num-iterations` sets it, so it is no option."""
    bf16: tyro.conf.Fixed[bool] = False
    """Whether layers are computed in bfloat16 in training; `--mixed-precision` sets it, so it is no option."""
    enable_collider: bool = False
    """Whether to use nerfstudio's collider; rays start at the box of the scene, so none is needed."""


class UnsupVolanimModel(Model):
    """Connects nerfstudio and the network: which identity, which driving frame, which loss."""

    config: UnsupVolanimModelConfig
    next_commands = (
        "ns-avatar drive --load-config {config} --image somebody.png --driving clip.mp4",
        "ns-eval --load-config {config} --output-path eval.json",
    )
    """What to do with a trained model."""

    def populate_modules(self) -> None:
        """Builds the network for the identities of the data."""
        super().populate_modules()
        self.clips: Clips = self.kwargs["metadata"]["clips"]
        self.network = VolumetricAnimation(self.config.network, len(self.clips.identities))
        self.network.bf16 = self.config.bf16
        self._first_row = self.clips.first_rows()
        schedule, network = self.config.schedule, self.config.network
        schedule.check(network.part_detector, network.shared_parts, network.own_volumes)
        frames = sum(clip.frames for clip in self.clips.table)
        self.search = PoseSearch(frames, self.config.search) if schedule.search_until > 0 else None
        has_table = schedule.articulation == "table"
        self.config.part_search.check(has_table)
        self.table = PartPoseTable(frames, network.parts, self.config.table) if has_table else None
        found, message = find_perceptual(self.config.perceptual if self.config.losses.perceptual else "off")
        CONSOLE.print(message)
        # In a list, so that frozen weights are neither trained nor saved.
        self._perceptual = [found]
        self.resolver = FrameResolver(self.clips)
        self._step = 0
        self._poses = LastUsed[tuple[int, int], PartPoses](_REMEMBERED_POSES)
        self._cubes = LastUsed[int, Tensor](_REMEMBERED_CUBES)
        self._inverted = LastUsed[int, tuple[int, Tensor]](_REMEMBERED_CUBES)
        self._last_clip: int | None = None
        self._kept_poses = KeptPoses()
        self._lessons: Lessons | None = None
        self._rays_at_a_time = AtATime(self.config.eval_num_rays_per_chunk, "rays of a picture", SMALLER_PICTURES)
        self._samples_at_a_time = AtATime(self.config.network.render.chunk, "samples", _FEWER_FRAMES)
        self._register_load_state_dict_pre_hook(self._match_identities)

    # Training ---------------------------------------------------------------------------------------------------------

    @property
    def tables(self) -> list[nn.Module]:
        """What has a row for each identity or frame, of which several processes tell each other what changes."""
        return [*filter(None, (self.search, self.table)), *self.network.sparse_rows()]

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        """A single group: everything has the same learning rate."""
        return {"network": [*self.network.parameters(), *(rows.handle for rows in self.network.sparse_rows())]}

    def less_at_a_time(self, work: Callable[[], T]) -> T:
        """Learns something, again with pictures rendered in smaller pieces if memory does not suffice."""

        def with_pieces_of(samples: int) -> T:
            self.network.config.render.chunk = samples
            return work()

        return self._samples_at_a_time.run(with_pieces_of)

    def begin_step(self, step: int) -> bool:
        """Prepares a training step.

        Returns:
            Whether the object has just been articulated, so that the optimizer should reset its state.
        """
        self._step = step
        self._poses.clear()
        self._cubes.clear()
        schedule = self.config.schedule
        schedule.lead(self.table, self._progress, self.network, self.clips)
        if schedule.phase(self._progress) != "articulation" or bool(self.network.articulated):
            return False
        with torch.random.fork_rng(devices=[]):
            # The same parts on every process, and in a run that was resumed here.
            torch.manual_seed(step)
            self.network.articulate(self.config.part_noise)
        CONSOLE.print(f"Step {step}: the object becomes articulated, with {self.config.network.parts} parts.")
        return True

    def end_step(self, step: int) -> None:
        """Finishes the detectors after the last step."""
        if self.table is not None and step + 1 == self.config.max_steps:
            solve_last_layer(self.network, self.table, self.clips)
            self._poses.clear()

    def update_to_step(self, step: int) -> None:
        """Sets schedules to the step of a checkpoint, after it is loaded."""
        self._step = step

    def forget_pictures(self) -> None:
        """Drops poses and cubes from an earlier state of the network."""
        self._poses.clear()
        self._cubes.clear()
        self._inverted.clear()

    @property
    def _progress(self) -> float:
        return min(self._step / max(self.config.max_steps, 1), 1.0)

    def forward(self, ray_bundle: Any, batch: dict[str, Tensor] | None = None) -> dict[str, Any]:
        """Losses of a training batch (see `ClipFramesDataManager.next_train`), or a picture if given only a camera."""
        if batch is None:
            return self.get_outputs_for_camera(ray_bundle)
        config = self.config
        config.losses.check(self._perceptual[0] is not None)
        if self.table is not None and self._progress >= config.schedule.detectors_alone_from:
            self._lessons = self._lessons or Lessons.collect(self.network, self.table, self.clips)
            if self._lessons is not None:
                return {"losses": self._lessons.losses(self.network, config.losses)}
        part_search = config.part_search if config.part_search.trials else None
        aids = replace(config.schedule.aids(self._progress, self.search, self.table), part_search=part_search)
        inputs = AnimationBatch.of(batch, self._first_row, self.device)
        weights = config.losses.when_articulated() if bool(self.network.articulated) else config.losses
        compare = self._compare if self._perceptual[0] is not None else None
        step = animation_step(self.network, inputs, weights, aids, compare)
        losses = dict(step.losses)
        if "mask" in losses:
            losses["mask"] = losses["mask"] * config.schedule.mask_factor(self._progress)
        return {
            "losses": losses,
            "accumulation": step.pictures.accumulation.detach(),
            "parts": step.pictures.parts.detach(),
            "psnr": step.psnr,
        }

    def _compare(self, rendered: Tensor, target: Tensor) -> Tensor:
        """The perceptual loss (for pictures with channels last), at VGG19's scale for any network."""
        perceptual = self._perceptual[0]
        assert perceptual is not None
        with self.network.reduced_precision():
            return SCALES.get(perceptual.trunk.name, 1.0) * perceptual.to(rendered.device)(rendered, target)

    def get_outputs(self, ray_bundle: Any) -> dict[str, Tensor]:
        """Not used, because pictures depend on driving frames: whole cameras are rendered."""
        raise NotImplementedError("unsup-volanim renders cameras, not ray bundles: use get_outputs_for_camera")

    def get_metrics_dict(self, outputs: dict, batch: dict) -> dict[str, Tensor]:
        """PSNR, share of the picture that the object covers, and share of the largest part, if one was drawn."""
        if "parts" not in outputs:
            return {}
        parts = outputs["parts"].mean((0, 1))
        return {
            "psnr": outputs["psnr"],
            "accumulation": outputs["accumulation"].mean(),
            "largest_part": parts.max() / parts.sum().clamp_min(1e-6),
        }

    def get_loss_dict(self, outputs: dict, batch: dict, metrics_dict: dict | None = None) -> dict[str, Tensor]:
        """The weighted losses."""
        return outputs["losses"]

    # Pictures ---------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def get_outputs_for_camera(self, camera: Cameras, obb_box: OrientedBox | None = None) -> dict[str, Tensor]:
        """Renders one camera, with the driving frame that it asks for, and the identity in that clip."""
        clip, frame = self.resolver.frame_for(camera)
        seen = self.render_identity(camera, self.cube_of_clip(clip), self.driving_pose(clip, frame))
        # nerfstudio's commands and viewer show every output, and know none with a channel for each part.
        return {name: picture for name, picture in seen.items() if name != "part_shares"}

    def render_identity(
        self,
        camera: Cameras,
        cube: Float[Tensor, "channels n n n"],
        poses: PartPoses,
        visible: Float[Tensor, " parts"] | None = None,
        normals: bool = True,
        samples: int | None = None,
    ) -> dict[str, Tensor]:
        """Renders a cube in a pose (1, parts) from any camera.

        Args:
            camera: a single camera.
            cube: canonical voxels.
            poses: the poses of the parts.
            visible: factor on the density of each part.
            normals: whether to compute normals, which take half of the time.
            samples: along each ray; by default as many as the options say.

        Returns:
            The result of `as_images`.
        """
        rays, height, width = scene_rays(camera.to(self.device))
        samples = samples or self.config.eval_samples

        def render(count: int) -> list[VoxelPictures]:
            pieces = (rays[start : start + count] for start in range(0, len(rays), count))
            return [
                self.network.render(cube[None], poses, piece, samples, normals=normals, visible=visible)
                for piece in pieces
            ]

        seen = self._rays_at_a_time.run(render)
        pictures = as_images(seen, (rays.near + rays.far) / 2, height, width)
        return pictures if normals else {name: one for name, one in pictures.items() if name != "normal"}

    def driving_pose(self, clip: int, frame: int) -> PartPoses:
        """Poses (1, parts) in a frame of a clip, from the detector or from memory.

        Without the data, the checkpoint still has those of a few frames (`KeptPoses`).

        Raises:
            DataError: if the frame does not exist.
        """
        key = clip, frame
        kept = None if self.clips.is_there(clip) else self._kept_poses.find(clip, frame)
        if kept is not None:
            return kept.to(self.device)
        if key not in self._poses:
            self._poses[key] = self.pose_of_picture(self.clips.frame(clip, frame))
        return self._poses[key]

    @torch.no_grad()
    def pose_of_picture(self, picture: Float[Tensor, "size size 3"]) -> PartPoses:
        """Poses (1, parts) of the object in a picture."""
        with self.network.evaluating():
            return self.network.estimate(picture.to(self.device).permute(2, 0, 1)[None])

    def cube_of_clip(self, clip: int) -> Float[Tensor, "channels n n n"]:
        """Canonical voxels of the identity in a clip, which is fitted to its first frame if it was not trained on.

        Fitting takes long: during training, the result is kept until another clip is requested.
        """
        identity = self.clips.identity_of_clip[clip]
        asked_again, self._last_clip = clip != self._last_clip, clip
        if identity >= 0:
            return self.cube_of_identity(identity)
        step, _ = self._inverted.get(clip, (None, None))
        if step is None or (asked_again and step != self._step):
            CONSOLE.print(f"{self.clips.table[clip].name} was not trained on: fitting an identity to its first frame.")
            mask = self.clips.mask(clip, 0)
            found = self.invert(self.clips.frame(clip, 0)[None], masks=None if mask is None else mask[None])
            self._inverted[clip] = self._step, found.cube
        return self._inverted[clip][1]

    def invert(
        self,
        pictures: Float[Tensor, "pictures size size 3"],
        progress: Callable[[int, int], None] | None = None,
        masks: Float[Tensor, "pictures size size"] | None = None,
    ) -> InvertedIdentity:
        """Fits an identity to one or several pictures (from 0 to 1), with masks of the object if known."""
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng():
            torch.manual_seed(0)
            images = pictures.clone().to(self.device).permute(0, 3, 1, 2)
            compare = self._compare if self._perceptual[0] is not None else None
            objects = None if masks is None else masks.clone().to(self.device)[:, None]
            config = self.config.inversion
            fit = invert_in_rounds if config.rounds else invert_identity
            return self.less_at_a_time(lambda: fit(self.network, images, config, compare, progress, objects))

    def cube_of_identity(self, identity: int) -> Float[Tensor, "channels n n n"]:
        """Canonical voxels of an identity that was trained on."""
        if identity not in self._cubes:
            with torch.no_grad(), self.network.evaluating():
                self._cubes[identity] = self.network.cubes(torch.tensor([identity], device=self.device))[0]
        return self._cubes[identity]

    def random_code(self, seed: int) -> Float[Tensor, "1 size"]:
        """Whitened code of a random identity: codes are distributed as N(0, I)."""
        size = self.config.network.generator.code_size
        return torch.randn(size, generator=torch.Generator().manual_seed(seed))[None].to(self.device)

    @torch.no_grad()
    def random_cube(self, seed: int) -> Float[Tensor, "channels n n n"]:
        """Canonical voxels of a random identity."""
        with self.network.evaluating():
            return self.network.cubes_of(self.random_code(seed), detail=self.network.no_detail())[0]

    def get_image_metrics_and_images(self, outputs: dict, batch: dict) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Figures of a held-out frame (see `held_out_frames`), and the frame beside its reconstruction."""
        truth = batch["image"].to(self.device)
        images = {"img": torch.cat([truth, outputs["rgb"], outputs["parts"], outputs["normal"]], 1)}
        return held_out_figures(outputs, batch, self.clips.has_masks), images

    # Checkpoints ------------------------------------------------------------------------------------------------------

    @property
    def row_file(self) -> RowFile | None:
        """The file that has rows which checkpoints only refer to, if there is one."""
        return self.network.detail.file if isinstance(self.network.detail, VolumeRows) else None

    def get_extra_state(self) -> dict[str, Any]:
        """The identities in the clips, and some poses, with which a checkpoint renders without its training data.

        Rows of the embedding are matched by the names of identities, not by position.
        """
        return {"clips": self.clips.state(), "poses": self._poses_to_keep().state()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Loads the poses; `_match_identities` has used the names."""
        self._kept_poses = KeptPoses.from_state(state["poses"])

    def _poses_to_keep(self) -> KeptPoses:
        # Not `driving_pose`, which would forget what it remembers for the pictures of this step.
        return KeptPoses.of(self.clips, self.pose_of_picture) or self._kept_poses

    @classmethod
    def kept_scene(cls, state: dict[str, Any], data: Path | None) -> KeptScene:
        """The scene from `get_extra_state`; see `KeepsScene`."""
        if "clips" not in state:
            raise UserError("the checkpoint names no clips: it was written before checkpoints did. Train again.")
        clips = Clips.from_state(state["clips"], data or Path())
        cameras = clip_cameras(clips.table, torch.tensor(rows_to_keep(clips)), clips.size)
        return KeptScene(clip_scene_box(), cameras, {"clips": clips})

    def _match_identities(self, state: dict[str, Any], prefix: str, *_: Any) -> None:
        match_identities(state, prefix, self.clips.identities, {"search": self.search, "table": self.table})
