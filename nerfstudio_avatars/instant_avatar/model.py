"""InstantAvatar (Jiang et al. 2023) as a nerfstudio model: a person, learnt from one video, rendered in any pose."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.models.base_model import Model, ModelConfig
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor, nn
from torch.nn import functional as F

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import Mesh, SkinningVolume
from nerfstudio_avatars.instant_avatar.avatar import CanonicalAvatar, CanonicalAvatarConfig, PosedAvatar, RenderedRays
from nerfstudio_avatars.instant_avatar.camera_rays import camera_rays
from nerfstudio_avatars.instant_avatar.cuda_graph import RecordedSteps, recordable
from nerfstudio_avatars.instant_avatar.dynamic_sizes import Budget, send
from nerfstudio_avatars.instant_avatar.empty_space import empty_space_opacity, looks_at_empty_space
from nerfstudio_avatars.instant_avatar.finished_parts import FinishedParts
from nerfstudio_avatars.instant_avatar.frame_light import FrameLight
from nerfstudio_avatars.instant_avatar.held_out_pictures import HeldOutCamera, held_out_figures
from nerfstudio_avatars.instant_avatar.losses.hard_surface import hard_accumulation, hard_weights
from nerfstudio_avatars.instant_avatar.losses.picture_errors import picture_errors
from nerfstudio_avatars.instant_avatar.person import Person
from nerfstudio_avatars.instant_avatar.poses.outlier_frames import FrameErrors
from nerfstudio_avatars.instant_avatar.poses.pose_refinement import PoseRefinementConfig
from nerfstudio_avatars.instant_avatar.poses.pose_resolver import PoseResolver
from nerfstudio_avatars.instant_avatar.poses.pose_smoothing import smoothing_correction
from nerfstudio_avatars.instant_avatar.poses.pose_table import BodyPoseTable, canonical_state
from nerfstudio_avatars.instant_avatar.rendering.compositing import cut_out, over
from nerfstudio_avatars.instant_avatar.rendering.normals import normals_from_depth
from nerfstudio_avatars.memory import SMALLER_PICTURES, AtATime
from nerfstudio_avatars.nerfstudio_glue.kept_scene import KeptScene


@dataclass
class InstantAvatarModelConfig(ModelConfig):
    """Options of InstantAvatar; the defaults are the recommended values."""

    _target: type = field(default_factory=lambda: InstantAvatarModel)
    avatar: CanonicalAvatarConfig = field(default_factory=CanonicalAvatarConfig)
    """Options of the avatar: its canonical space, its field, and how rays march through it."""
    background: Literal["white", "black"] = "white"
    """Colour behind rendered pictures; training always uses random colours, and evaluation reports both."""
    mask_weight: float = 0.1
    """Weight of the squared error between rendered accumulation and mask."""
    hard_accumulation_weight: float = 0.1
    """Weight of the loss that makes rays opaque or clear."""
    hard_weights_weight: float = 0.1
    """Weight of the loss that makes single samples opaque or clear."""
    regulariser_weight: float = 0.1
    """Weight of the loss that lowers the density in cells marked as empty."""
    huber_delta: float = 0.1
    """Colour difference above which the loss grows linearly, as in the paper; smaller is sharper if poses are exact."""
    occupancy_warmup: int = 48
    """Number of steps during which the whole band around the template counts as occupied."""
    occupancy_every: int = 16
    """Number of steps to take between two updates of the occupancy."""
    repose_every: int = 128
    """Number of steps to reuse the posed cells of a frame for, while its pose is fixed."""
    refine_poses: bool = True
    """Whether to refine the training poses together with the avatar; trusting them as they are is faster."""
    smooth_poses: bool = True
    """Whether to remove jitter from the poses before training, and to replace poses that jump.
    This only happens when poses are refined, and it does not change exact poses, which are smooth."""
    refine_from: float = 0.15
    """Share of the training after which poses are refined, from 0 to 1.
    An avatar that has learnt too little sends poses astray, and not all of them come back."""
    pose_smoothness: float = 2.0
    """Weight of the loss that pulls the pose of a frame towards the middle of its neighbours in time.
    Larger values remove more jitter, but also more of fast motion where frames are sparse."""
    open_levels_until: float = 0.4
    """Share of the training over which the fine levels of the hash grid are opened gradually, from 0 to 1.
    This happens while poses are refined, because fine levels would make the gradient of a pose noisy."""
    outlier_weight: float = 0.05
    """Weight of frames that fit far worse than the others, such as flipped poses; 1 does not look for any.
    Their numbers are printed when training ends, and by `ns-avatar evaluate`."""
    frame_light: bool = False
    """Whether to learn a gain and a tint for each training frame, because exposure or light may change while filming.
    They are no part of the avatar."""
    frame_light_weight: float = 0.1
    """Weight of the loss that keeps these gains and tints small."""
    density_noise_steps: int = 0
    """Number of steps during which unit noise is added to the raw density; the published code uses 1000."""
    test_pose_refinement: PoseRefinementConfig = field(default_factory=PoseRefinementConfig)
    """Options for fitting held-out poses to their pictures, which `ns-eval` reports as `refined_*`."""
    max_steps: tyro.conf.Fixed[int] = 1500
    """Number of training steps that the schedules refer to; `--max-num-iterations` sets it, so it is no option."""
    cuda_graph: bool = False
    """Whether to record a training step as a CUDA graph and replay it, which saves most work of the host.
    This has been tested without a GPU only."""
    eval_num_rays_per_chunk: int = 1 << 15
    """Number of rays to render at a time for a picture; the CPU renders them all at once."""
    enable_collider: bool = False
    """Whether to use nerfstudio's collider; rays start at the box of the posed body, so none is needed."""


class InstantAvatarModel(Model):
    """Connects nerfstudio and the avatar: which pose, which rays, which loss."""

    config: InstantAvatarModelConfig
    next_commands = (
        "ns-avatar animate --load-config {config} --motion walk",
        "ns-avatar evaluate --load-config {config}",
    )
    """What to do with a trained model."""

    def populate_modules(self) -> None:
        """Builds the avatar from the body in the data."""
        super().populate_modules()
        self.person: Person = self.kwargs["metadata"]["person"]
        motion, body, train_frames = self.person.motion, self.person.body, self.person.train_frames
        finished: FinishedParts | None = self.kwargs["metadata"].get("finished")
        finished = finished if finished and finished.fit(self.person) else None
        start, self._jumping = None, finished.jumping_frames if finished else list[int]()
        if finished is None and self.config.refine_poses and self.config.smooth_poses:
            start, self._jumping = smoothing_correction(motion, train_frames)
        posed = body.pose(canonical_state(motion.betas))
        loose = self.config.avatar.loose(self.person.reach)
        mesh = Mesh(posed.vertices.detach(), body.faces, body.weights, loose)
        self.avatar = CanonicalAvatar(self.config.avatar, mesh, finished.volume if finished else None)
        self.poses = BodyPoseTable(motion, body, train_frames, start)
        self.frame_errors = FrameErrors(len(motion), train_frames)
        self.light = FrameLight(len(motion), train_frames)
        self.resolver = PoseResolver(self.poses, train_frames)
        self._posed_frames: dict[int, PosedAvatar] = {}
        self.step = 0
        self._budget: Budget | None = None
        self.recorded_steps: RecordedSteps | None = None
        self._in_training = False
        self._last_posed: PosedAvatar | None = None
        self._seen_camera: Cameras | None = None
        self._rays_at_a_time = AtATime(self.config.eval_num_rays_per_chunk, "rays of a picture", SMALLER_PICTURES)
        if self.config.refine_poses:
            self.avatar.field.open_levels(self._open_levels())

    # Training ---------------------------------------------------------------------------------------------------------

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        """`field` (hash table and networks), `pose` and `light` (of frames), `bones` (corrections shared by all)."""
        return {
            "field": list(self.avatar.field.parameters()),
            "pose": [self.poses.frame_correction],
            "light": [self.light.log_gain],
            "bones": [self.poses.shared_correction, self.poses.joint_offsets],
        }

    def get_training_callbacks(self, attributes: TrainingCallbackAttributes) -> list[TrainingCallback]:
        """Callbacks that update step, occupancy and open levels."""
        self._in_training = True
        self._budget = self.avatar.make_budget()
        if self.config.cuda_graph:
            self.recorded_steps = RecordedSteps(self, recordable(self, self._budget, attributes.trainer))
        return [
            TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], self._before_step),
            TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN_ITERATION], self._finish_training),
        ]

    def update_to_step(self, step: int) -> None:
        """Sets schedules to the step of a checkpoint, after it is loaded."""
        self.step = step
        self._schedule()

    def forget_what_a_checkpoint_lacks(self) -> None:
        """Drops cells posed with an earlier occupancy: the run goes on as one that is resumed from its checkpoint."""
        self._posed_frames.clear()

    @property
    def _progress(self) -> float:
        return min(self.step / max(self.config.max_steps, 1), 1.0)

    def _moving_poses(self) -> bool:
        return self.config.refine_poses and self._progress >= self.config.refine_from

    def _lighting(self) -> bool:
        return self.config.frame_light and self._progress >= self.config.refine_from

    def _open_levels(self) -> float:
        levels = self.config.avatar.field.levels
        if not self.config.refine_poses:
            return levels
        return 3 + (levels - 3) * min(self._progress / max(self.config.open_levels_until, 1e-6), 1.0)

    def _schedule(self) -> None:
        self.poses.requires_grad_(self._moving_poses())
        self.light.requires_grad_(self._lighting())
        if self.config.refine_poses:
            self.avatar.field.open_levels(self._open_levels())

    def _before_step(self, step: int) -> None:
        self.step = step
        self._schedule()
        if step % self.config.occupancy_every == 0:
            if step >= self.config.occupancy_warmup:
                self.avatar.update_occupancy()
            if self._budget:
                self._budget.settle()
        if step % self.config.repose_every == 0:
            self._posed_frames.clear()

    def _pose_frames(self, frames: list[int], budget: Budget | None) -> list[PosedAvatar]:
        """Posed cells of training frames, which are kept while poses are fixed."""
        if self._moving_poses():
            pose = self.training_poses(send(frames, self.device))
            return self.avatar.pose_all(self.poses.transforms(pose), budget)
        new = [frame for frame in frames if frame not in self._posed_frames]
        if new:
            with torch.no_grad():
                pose = self.training_poses(send(new, self.device))
                # Kept cells must be complete, so no budget is used, although this waits for the GPU.
                self._posed_frames.update(zip(new, self.avatar.pose_all(self.poses.transforms(pose)), strict=True))
        return [self._posed_frames[frame] for frame in frames]

    def training_poses(self, frames: Int[Tensor, " k"]) -> Float[Tensor, "k 75"]:
        """Poses of training frames (orientation, body pose, translation), corrected once poses are refined."""
        pose = self.poses.stored(frames)
        return pose + self.poses.learnt_together()[frames] if self._moving_poses() else pose

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor | list]:
        """Renders training rays, which are grouped by frame, with frame numbers on the host."""
        frame = ray_bundle.metadata["frame"][:, 0].numpy()
        starts = [0, *(np.flatnonzero(np.diff(frame)) + 1).tolist()]
        slices = [slice(*ends) for ends in itertools.pairwise([*starts, len(frame)])]
        budget = self._budget if self.training else None
        if budget:
            budget.fits = None
        poses = list(zip(slices, self._pose_frames(frame[starts].tolist(), budget), strict=True))
        self._last_posed = poses[-1][1]
        return self.render_rays(ray_bundle.origins, ray_bundle.directions, poses, budget)

    def render_rays(
        self, origins: Tensor, directions: Tensor, poses: list[tuple[slice, PosedAvatar]], budget: Budget | None
    ) -> dict[str, Tensor | list]:
        """Renders slices of rays, each in a pose of its own, with samples at random places in their steps."""
        jitter = torch.rand(len(origins), device=self.device)
        rendered = self.avatar.render(origins, directions, jitter, poses, self._density_noise(), budget)
        outputs: dict[str, Tensor | list] = {**self._outputs(rendered)}
        if self.training:
            outputs["sample_weights"] = [rendered.weights]
        return outputs

    def _density_noise(self) -> float:
        return float(self.training and self.step < self.config.density_noise_steps)

    def step_kind(self) -> tuple[bool, bool, bool, float]:
        """The decisions of the host about a training step: steps of one kind only differ in their values."""
        return self._moving_poses(), self._lighting(), looks_at_empty_space(self.step), self._density_noise()

    def _background(self) -> Tensor:
        return torch.full((3,), float(self.config.background == "white"), device=self.device)

    def _outputs(self, rendered: RenderedRays) -> dict[str, Tensor]:
        return {
            "rgb": over(rendered.premultiplied, rendered.accumulation, self._background()),
            "accumulation": rendered.accumulation,
            "depth": rendered.depth,
            "premultiplied": rendered.premultiplied,
            "canonical": rendered.canonical,
        }

    def get_metrics_dict(self, outputs: dict, batch: dict) -> dict[str, Tensor]:
        """PSNR of the rays on white, and how far the poses have moved."""
        truth, white = batch["image"].to(self.device), torch.ones(3, device=self.device)
        target = over(truth[:, :3] * truth[:, 3:], truth[:, 3:], white)
        prediction = over(outputs["premultiplied"].detach(), outputs["accumulation"].detach(), white)
        metrics = {"psnr": -10 * F.mse_loss(prediction, target).log10()}
        if self._moving_poses():
            metrics["pose_correction_degrees"] = self.poses.frame_correction[:, :72].detach().abs().mean().rad2deg()
            metrics["transl_correction_mm"] = self.poses.frame_correction[:, 72:].detach().abs().mean() * 1000
        return metrics

    def get_loss_dict(self, outputs: dict, batch: dict, metrics_dict: dict | None = None) -> dict[str, Tensor]:
        """The weighted losses of section 3.4 of the paper."""
        config = self.config
        truth = batch["image"].to(self.device)
        rendered, accumulation = outputs["premultiplied"], outputs["accumulation"]
        frames = batch["frame"].to(self.device)
        if self.training and self._lighting():
            rendered = self.light.lit(rendered, frames)
        colour, silhouette = picture_errors(rendered, accumulation, truth, config.huber_delta)
        silhouette = config.mask_weight * silhouette
        if not self.training:
            return {"rgb": colour.mean(), "mask": silhouette.mean()}
        errors = colour.detach().mean(-1) + silhouette.detach()[:, 0]
        weight = self.frame_errors.weights_of_rays(frames, errors, config.outlier_weight, self._fits)
        losses = {"rgb": (weight * colour).mean(), "mask": (weight * silhouette).mean()}
        losses["hard_accumulation"] = config.hard_accumulation_weight * hard_accumulation(accumulation.clamp(0, 1))
        losses["hard_weights"] = config.hard_weights_weight * hard_weights(outputs["sample_weights"][0], len(truth))
        if config.regulariser_weight > 0:
            empty_space = empty_space_opacity(self.avatar, self.step, self._last_posed)
            if empty_space is not None:
                losses["empty_space"] = config.regulariser_weight * empty_space
        if self._moving_poses():
            losses["pose_smoothness"] = config.pose_smoothness * self.poses.smoothness(frames)
        if self._lighting():
            losses["frame_light"] = config.frame_light_weight * self.light.strength(frames)
        if self._fits is not None:  # A step that lost samples to its budget teaches nothing.
            losses = {name: torch.where(self._fits, loss, 0.0) for name, loss in losses.items()}
        return losses

    @property
    def _fits(self) -> Tensor | None:
        """Whether the samples of the step fit their budget; None without a budget."""
        return self._budget.fits if self._budget else None

    # Pictures ---------------------------------------------------------------------------------------------------------

    def get_outputs_for_camera(self, camera: Cameras, obb_box: OrientedBox | None = None) -> dict[str, Tensor]:
        """Renders one camera in the pose that it asks for (see `PoseResolver`): what users are to see of it."""
        self._seen_camera = camera
        return cut_out(self.render_pose(camera, self.resolver.pose_for(camera)))

    @torch.no_grad()
    def posed(self, pose: BodyState) -> PosedAvatar:
        """The avatar in a pose (world frame: metres, z up); betas are the avatar's own."""
        return self.avatar.pose_for_rendering(self.poses.transforms_of(pose.to(self.device)))

    def render_pose(self, camera: Cameras, pose: BodyState) -> dict[str, Tensor]:
        """Renders one camera with the body in a pose, as `posed` takes it."""
        return self.render_posed(camera, self.posed(pose))

    @torch.no_grad()
    def render_posed(self, camera: Cameras, posed: PosedAvatar) -> dict[str, Tensor]:
        """Renders one camera with the avatar in a pose that it has been put into."""
        origins, directions = camera_rays(camera.to(self.device))
        height, width = origins.shape[:2]
        rays = torch.broadcast_to(origins, directions.shape).reshape(-1, 3), directions.reshape(-1, 3)
        rendered = self._rays_at_a_time.run(lambda count: self.avatar.render_picture(*rays, posed, count))
        outputs = {key: value.reshape(height, width, -1) for key, value in self._outputs(rendered).items()}
        outputs["normal"] = normals_from_depth(origins, directions, outputs["depth"], outputs["accumulation"])
        return outputs

    def _finish_training(self, step: int) -> None:
        """Recomputes the occupancy from the finished field, so that pictures skip empty space; reports outliers."""
        if step < self.config.max_steps - 1:
            return
        self.avatar.finish(self.config.avatar.field.levels)
        outliers = self.outlier_frames()
        if outliers:
            frames = ", ".join(map(str, outliers))
            CONSOLE.print(
                f"Check these frames, whose pose jumps or which fit far worse than the others: {frames}. "
                f"Jumps were interpolated, and bad fits have a weight of {self.config.outlier_weight:g}."
            )

    def outlier_frames(self) -> list[int]:
        """Training frames whose pose jumps, or which fit far worse than the others; empty if none were searched for."""
        return sorted({*self._jumping, *self.frame_errors.outlier_frames().tolist()})

    def get_image_metrics_and_images(self, outputs: dict, batch: dict) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Figures of a held-out picture (see `held_out_pictures`): of its pose as given, and as the avatar learnt it.

        Figures of the pose fitted to the test image itself, as in the paper, are added in `ns-eval` only.
        """
        truth = batch["image"].to(self.device)
        seen = {"given": outputs}
        if self._seen_camera is not None and self.config.refine_poses:
            fits = self.config.test_pose_refinement.steps and not self._in_training
            refinement = self.config.test_pose_refinement if fits else None
            rendered = HeldOutCamera(self._seen_camera, self.avatar, self.poses, self.render_pose)
            seen = rendered.in_each_pose(outputs, truth, refinement)
        shown = over(truth[..., :3] * truth[..., 3:], truth[..., 3:], self._background())
        error = ((outputs["rgb"] - shown).abs() * 4).clamp(0, 1)
        images = {"img": torch.cat([shown, outputs["rgb"], error], 1), "accumulation": outputs["accumulation"]}
        return held_out_figures(seen, truth, self._background()), images

    # Checkpoints ------------------------------------------------------------------------------------------------------

    def get_extra_state(self) -> dict[str, Any]:
        """The person that the avatar shows, with which a checkpoint renders without its training data."""
        # SMPL's weights may not be passed on, nor anything that was made from its files.
        volume = {"volume": self.avatar.volume.state()} if self.person.body.name == "standin" else {}
        return {"person": self.person.state(), "jumping_frames": self._jumping} | volume

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Does nothing, because the model is already built from a person."""

    @classmethod
    def kept_scene(cls, state: dict[str, Any], data: Path | None) -> KeptScene:
        """The scene from `get_extra_state`; see `KeepsScene`. The data are not used."""
        if "person" not in state:
            raise UserError("the checkpoint holds no person, because an earlier version wrote it. Train the run again.")
        person = Person.from_state(state["person"])
        volume = SkinningVolume.from_state(state["volume"]) if "volume" in state else None
        finished = FinishedParts(volume, state["jumping_frames"], person)
        return KeptScene(person.box, person.cameras, {"person": person, "finished": finished})
