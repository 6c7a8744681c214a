"""Finds poses by trial: each training frame keeps the best one so far (part of `unsup-volanim`'s bootstrap)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.unsup_volanim.losses.image_pyramid import antialiased_resize
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation
from nerfstudio_avatars.unsup_volanim.pose_trials import render_trials
from nerfstudio_avatars.unsup_volanim.processes import everywhere
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
from nerfstudio_avatars.unsup_volanim.voxel_render import standard_rays


@dataclass
class PoseSearchConfig:
    """Options of the search for poses."""

    candidates: int = 8
    """Number of poses to compare for a frame at each visit."""
    size: int = 16
    """Side length in pixels of the pictures that are compared."""
    samples: int = 12
    """Number of samples to take along each ray of the pictures that are compared."""
    turn_spread: tuple[float, float, float] = (0.25, 0.5, 0.175)
    """Standard deviations of tried rotations about x (pitch), y (yaw) and z (roll), in radians."""
    shift_spread: tuple[float, float, float] = (0.06, 0.06, 0.1)
    """Standard deviations of tried translations along x, y and z, in half pictures."""
    last_spread: float = 0.2
    """Share of the initial standard deviations that is left at the end of the search."""
    mask_weight: float = 0.1
    """Weight of the accumulation's error, compared with that of the colours."""


class PoseSearch(nn.Module):
    """One remembered pose per training frame, improved whenever the frame is visited.

    While the cube is blurred, the gradient with respect to a pose is of little use: heads never start to turn. Trying a
    few poses and keeping the best does start it. They include the pose from the detector, the remembered ones of the
    frames before and after (a video is smooth), some near no rotation (to leave dead ends), and others near the
    remembered one.
    """

    rotation: Tensor
    translation: Tensor
    turn_spread: Tensor
    shift_spread: Tensor

    def __init__(self, frames: int, config: PoseSearchConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("rotation", torch.eye(3).repeat(frames, 1, 1))
        self.register_buffer("translation", torch.zeros(frames, 3))
        self.register_buffer("turn_spread", torch.tensor(config.turn_spread), persistent=False)
        self.register_buffer("shift_spread", torch.tensor(config.shift_spread), persistent=False)

    def remembered(self, rows: Int[Tensor, " frames"]) -> PartPoses:
        """Best poses so far (frames, 1)."""
        return PartPoses(self.rotation[rows][:, None], self.translation[rows][:, None])

    @torch.no_grad()
    def improve(
        self,
        network: VolumetricAnimation,
        cubes: Float[Tensor, "identities channels n n n"],
        images: Float[Tensor, "frames 3 size size"],
        masks: Float[Tensor, "frames 1 size size"] | None,
        rows: Int[Tensor, " frames"],
        progress: float,
        detected: PartPoses | None = None,
    ) -> PartPoses:
        """Tries poses, then stores and returns the best.

        Args:
            rows: numbers of the frames, in which frames of a clip are consecutive.
            progress: share of the search that has passed, 0 to 1.
            detected: poses from the detector (frames, 1).
        """
        config, frames, count = self.config, len(rows), self.config.candidates
        spread = 1 + (config.last_spread - 1) * min(max(progress, 0.0), 1.0)
        # Trials of all sizes: the pose may be far off, or nearly right.
        size = spread * torch.rand(frames, count, 1, device=images.device)
        turn = torch.randn(frames, count, 3, device=images.device) * self.turn_spread * size
        shift = torch.randn(frames, count, 3, device=images.device) * self.shift_spread * size
        turn[:, 0], shift[:, 0] = 0, 0
        best = self.remembered(rows)
        rotation, translation = best.rotation.repeat(1, count, 1, 1), best.translation.repeat(1, count, 1)
        beside = (rows + torch.randint(0, 2, rows.shape, device=rows.device) * 2 - 1).clamp(0, len(self.rotation) - 1)
        rotation[:, 1], translation[:, 1] = self.rotation[beside], self.translation[beside]
        rotation[:, 2] = torch.eye(3, device=images.device)
        turn[:, 2] = torch.randn(frames, 3, device=images.device) * self.turn_spread
        if detected is not None:
            rotation[:, 3], translation[:, 3] = detected.rotation[:, 0], detected.translation[:, 0]
            turn[:, 3], shift[:, 3] = 0, 0
        rotation, translation = axis_angle_to_matrix(turn) @ rotation, translation + shift
        score = self._score(
            network,
            cubes,
            images,
            masks,
            PartPoses(rotation.flatten(0, 1)[:, None], translation.flatten(0, 1)[:, None]),
        )
        chosen = torch.arange(frames, device=rows.device), score.unflatten(0, (frames, count)).argmin(1)
        rotation, translation = rotation[chosen], translation[chosen]
        for all_rows, r, t in everywhere(rows, rotation, translation):
            self.rotation[all_rows], self.translation[all_rows] = r, t
        return PartPoses(rotation[:, None], translation[:, None])

    def _score(
        self, network: VolumetricAnimation, cubes: Tensor, images: Tensor, masks: Tensor | None, poses: PartPoses
    ) -> Tensor:
        size, count = self.config.size, len(poses.rotation) // len(images)
        tried = PartPoses(*(one.unflatten(0, (-1, count))[:, :, 0] for one in (poses.rotation, poses.translation)))
        config = replace(network.config.render, samples=self.config.samples)
        first = PartPoses(tried.rotation[:, :1], tried.translation[:, :1])
        part = torch.zeros(len(images), dtype=torch.long, device=images.device)
        rgb, accumulation = (
            one.flatten(0, 1)
            for one in render_trials(cubes, first, part, tried, standard_rays(size, images.device), config)
        )
        target = antialiased_resize(images, size).flatten(2).mT.repeat_interleave(count, 0)
        score = (rgb - target).abs().mean((1, 2))
        if masks is not None:
            opaque = antialiased_resize(masks, size).flatten(1).repeat_interleave(count, 0)
            score = score + self.config.mask_weight * (accumulation - opaque).abs().mean(1)
        return score
