"""Fits an identity that was not trained on to one or several of its pictures."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.unsup_volanim.losses.image_pyramid import antialiased_resize, pixel_grid
from nerfstudio_avatars.unsup_volanim.losses.pixel_pyramid import pixel_pyramid_loss
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses, identity_poses
from nerfstudio_avatars.unsup_volanim.voxel_render import standard_rays

Perceptual = Callable[[Tensor, Tensor], Tensor]


@dataclass
class IdentityInversionConfig:
    """Options of an inversion in two stages, as in pivotal tuning: first the code, then the generator around it."""

    rounds: int = 0
    """Number of rounds of a fitting in seconds, which replaces both stages: 20 are enough. With 0, there are stages.
    It begins with the average identity, and fits voxels and poses together instead of code and generator."""
    code_steps: int = 300
    """Number of steps in the first stage, which fits the whitened code; the paper uses 3000."""
    code_rate: float = 3e-2
    """Learning rate to use in the first stage; it falls tenfold after 1/4, 1/2 and 3/4 of its steps."""
    tune_steps: int = 200
    """Number of steps in the second stage, which tunes a copy of the generator; the paper uses 500."""
    tune_rate: float = 1e-3
    """Learning rate to use in the second stage."""
    pictures_per_step: int = 4
    """Maximum number of pictures to compare in each step, drawn at random."""
    size: int = 0
    """Side length to shrink compared pictures to, in pixels; 0 compares them as they are."""
    pixel_weight: float = 10.0
    """Weight of the pixel error at several sizes, which is used in the first stage."""
    tune_pixel_weight: float = 1000.0
    """Weight of the mean absolute pixel error, which is used in the second stage."""
    perceptual_weight: float = 10.0
    """Weight of the perceptual error, which is used if a network for it is available."""
    mask_weight: float = 1.0
    """Weight of the cross-entropy between accumulation and mask in the first stage, if masks are given."""
    tune_mask_weight: float = 100.0
    """Weight of the cross-entropy between accumulation and mask in the second stage, if masks are given."""
    geometry_weight: float = 100.0
    """Weight of the loss that keeps part logits and density as the first stage found them."""
    move_share: float = 0.5
    """Share of second-stage steps that turn and shift the pictures in their plane, so that other poses stay right."""
    noise: float = 0.5
    """Standard deviation of the noise added to the code in the first stage; it falls to 0 after half of its steps."""
    prior: float = 1e-2
    """Weight of the loss that pulls the code towards 0, which is the average identity."""


@dataclass(frozen=True)
class InvertedIdentity:
    """An identity fitted to pictures."""

    code: Float[Tensor, " size"]
    """Whitened code."""
    cube: Float[Tensor, "channels n n n"]
    """Canonical voxels of the tuned generator."""
    pose: PartPoses
    """Pose in the first picture (1, parts)."""
    errors: dict[str, float]
    """Mean absolute error of colours: `start` (the average identity), `code` (only of two stages), `tuned`."""
    network: str = ""
    """Fingerprint of the network it was fitted with, whose poses are the only ones that can move it."""


def invert_identity(
    network: VolumetricAnimation,
    pictures: Float[Tensor, "pictures 3 size size"],
    config: IdentityInversionConfig,
    perceptual: Perceptual | None = None,
    progress: Callable[[int, int], None] | None = None,
    masks: Float[Tensor, "pictures 1 size size"] | None = None,
) -> InvertedIdentity:
    """Fits an identity; the network itself is not changed.

    Unsupervised Volumetric Animation, section 3.6, without the errors of its release: one whitened vector is optimised
    instead of the whole table, and batch statistics are those of training.

    With masks (not in the paper), the object is rendered over the background of the pictures, which is continued
    smoothly behind it, and the background of the identity is fitted to that alone. Without masks, the background also
    absorbs what the outline of the object misses, which stays in place when the object moves.

    Args:
        perceptual: compares pictures (n, size, size, 3); see `losses.perceptual`.
        progress: called with the number of steps done, and their total.
        masks: share of each pixel that the object covers.
    """
    total = config.code_steps + config.tune_steps
    tuned = copy.deepcopy(network).eval().requires_grad_(False)
    pose = tuned.estimate(pictures[:1]).detach()
    fit = PictureFit(tuned, pictures, config, perceptual, masks)
    code = torch.zeros(network.config.generator.code_size, device=pictures.device, requires_grad=True)
    errors = {"start": fit.error(tuned.cubes_of(code[None]))}
    optimizer = torch.optim.Adam([code], lr=config.code_rate, betas=(0.5, 0.99))
    for step in range(config.code_steps):
        share = step / config.code_steps
        optimizer.param_groups[0]["lr"] = config.code_rate * 0.1 ** int(4 * share)
        spread = config.noise * max(0.0, 1 - 2 * share) ** 2
        loss = fit.loss(
            tuned.cubes_of((code + spread * torch.randn_like(code))[None]), config.pixel_weight, mask=config.mask_weight
        )
        loss = loss + config.prior * code.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if progress:
            progress(step + 1, total)
    nothing = tuned.no_detail()
    with torch.no_grad():
        # With fine voxels, if others have them.
        first = tuned.cubes_of(code[None], detail=nothing)
        fit.remember_object(first)
    errors["code"] = fit.error(first)
    tuned.generator.requires_grad_(True)
    detail = None if nothing is None else nothing.requires_grad_()
    learnt = [code, *tuned.generator.parameters()] + ([] if detail is None else [detail])
    optimizer = torch.optim.Adam(learnt, lr=config.tune_rate, betas=(0.5, 0.99))
    shape = [*range(network.parts), -1]
    for step in range(config.tune_steps):
        cube = tuned.cubes_of(code[None], detail=detail)
        moved = torch.rand(()) < config.move_share
        loss = fit.loss(cube, 0.0, config.tune_pixel_weight, config.tune_mask_weight, bool(moved))
        loss = loss + config.geometry_weight * (cube[:, shape] - first[:, shape]).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if progress:
            progress(config.code_steps + step + 1, total)
    with torch.no_grad():
        cube = tuned.cubes_of(code[None], detail=detail)
    errors["tuned"] = fit.error(cube)
    return InvertedIdentity(code.detach(), cube[0].detach(), pose, errors, network.fingerprint())


class PictureFit:
    """Compares renderings of a cube with pictures, shrunk to `config.size`.

    Args:
        masks: share of each pixel that the object covers; not used where the renderer has no background.
        find_poses: the poses in pictures, of which the numbers are given too; by default, the detector finds them.
        jitter: whether to move samples at random along rays for a loss; otherwise, voxels between them stay behind.
    """

    def __init__(
        self,
        network: VolumetricAnimation,
        pictures: Tensor,
        config: IdentityInversionConfig,
        perceptual: Perceptual | None,
        masks: Tensor | None = None,
        find_poses: Callable[[Tensor, Tensor], PartPoses] | None = None,
        jitter: bool = False,
    ) -> None:
        if network.config.render.background == "none":
            masks = None
        if config.size:
            pictures = antialiased_resize(pictures, config.size)
            masks = None if masks is None else antialiased_resize(masks, config.size)
        self.jitter = jitter
        self.find_poses = find_poses or self._detected
        self.everything = torch.arange(len(pictures), device=pictures.device)
        self.network, self.pictures, self.config, self.perceptual = network, pictures, config, perceptual
        self.rays = standard_rays(pictures.shape[-1], pictures.device)
        self.masks = None if masks is None else masks.clamp(0, 1)
        self.object = self.masks
        if self.masks is not None:
            self.background = background_behind(pictures, self.masks)

    @torch.no_grad()
    def error(self, cube: Tensor) -> float:
        """Mean absolute error over all pictures."""
        rendered, _ = self._render(cube, self.pictures, self.everything)
        return float((rendered - self.pictures).abs().mean())

    @torch.no_grad()
    def remember_object(self, cube: Tensor) -> None:
        """Finds the object in each picture, unless there are masks."""
        if self.masks is not None:
            return
        self.object = self._render(cube, self.pictures, self.everything)[1]

    def loss(self, cube: Tensor, pyramid: float, pixel: float = 0.0, mask: float = 0.0, moved: bool = False) -> Tensor:
        """Weighted error of some pictures, which may be moved in their plane."""
        chosen = torch.randperm(len(self.pictures))[: self.config.pictures_per_step].to(self.pictures.device)
        target = self.pictures[chosen]
        seen: Tensor | None = None
        if moved and self.object is not None:
            both = _move_in_plane(torch.cat([target, self.object[chosen]], 1))
            target, seen = both[:, :3], both[:, 3:]
        rendered, accumulation = self._render(cube, target, chosen)
        loss = rendered.new_zeros(())
        if self.masks is not None:
            alone = self._background(cube)
            loss = loss + pixel * (alone - self.background).abs().mean()
            if pyramid:
                loss = loss + pyramid * pixel_pyramid_loss(_last(alone), _last(self.background), 3)
            if seen is None:
                share = self.masks[chosen]
                loss = loss + mask * F.binary_cross_entropy(accumulation.clamp(1e-4, 1 - 1e-4), share)
                behind = torch.lerp(target, self.background, share)
            else:
                behind = torch.zeros_like(target)
            # Over this background instead of the identity's own, which so learns nothing from the object.
            rendered = rendered + (1 - accumulation) * (behind - alone)
        if seen is not None:
            # The background does not move with the object.
            rendered, target = rendered * seen, target * seen
        loss = loss + pixel * (rendered - target).abs().mean()
        last = _last(rendered), _last(target)
        if pyramid:
            loss = loss + pyramid * pixel_pyramid_loss(*last, 3)
        if self.perceptual is not None and self.config.perceptual_weight:
            loss = loss + self.config.perceptual_weight * self.perceptual(*last)
        return loss

    def _render(self, cube: Tensor, pictures: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Colours, and the accumulation of the object."""
        poses, jitter = self.find_poses(pictures, numbers), self.jitter and torch.is_grad_enabled()
        seen = self.network.render(cube, poses, self.rays, jitter=jitter)
        size = pictures.shape[-2:]
        return seen.rgb.mT.unflatten(2, size), seen.accumulation.unflatten(1, size)[:, None]

    @torch.no_grad()
    def _detected(self, pictures: Tensor, _: Tensor) -> PartPoses:
        return self.network.estimate(pictures)

    def _background(self, cube: Tensor) -> Tensor:
        """The background, seen with all parts hidden."""
        parts = self.network.parts
        nobody = torch.zeros(parts, device=cube.device)
        seen = self.network.render(cube, identity_poses(1, parts, device=cube.device), self.rays, visible=nobody)
        return seen.rgb.mT.unflatten(2, self.pictures.shape[-2:])


def background_behind(
    pictures: Float[Tensor, "pictures 3 size size"], masks: Float[Tensor, "pictures 1 size size"]
) -> Float[Tensor, "1 3 size size"]:
    """The mean of the pictures outside their masks, filled with increasingly blurred surroundings where none shows
    it."""
    # A little away from the outline, where a mask may miss hair.
    reach = masks.shape[-1] // 32
    clear = 1 - F.max_pool2d(masks, 2 * reach + 1, 1, reach)
    levels = [torch.cat([pictures * clear, clear], 1).mean(0, keepdim=True)]
    while levels[-1].shape[-1] > 1:
        levels.append(F.avg_pool2d(levels[-1], 2, ceil_mode=True))
    # Of the last pixel, all that is known: the less the object leaves free, the darker everything would be otherwise.
    filled = levels[-1][:, :3] / levels[-1][:, 3:].clamp_min(1e-6)
    for level in reversed(levels[:-1]):
        weight = level[:, 3:]
        known = level[:, :3] / weight.clamp_min(1e-6)
        around = F.interpolate(filled, level.shape[-2:], mode="bilinear", align_corners=False)
        filled = torch.lerp(around, known, (weight * len(pictures)).clamp(max=1))
    return filled


def _last(pictures: Float[Tensor, "pictures 3 h w"]) -> Float[Tensor, "pictures h w 3"]:
    return pictures.permute(0, 2, 3, 1)


def _move_in_plane(pictures: Float[Tensor, "pictures channels size size"]) -> Tensor:
    """Turns pictures by N(0, 0.15^2) radians and shifts them by N(0, 0.15^2) half pictures; uncovered pixels are
    black."""
    angle, shift = 0.15 * torch.randn(len(pictures)), 0.15 * torch.randn(len(pictures), 2)
    cosine, sine = angle.cos(), angle.sin()
    turn = torch.stack([cosine, -sine, sine, cosine], -1).unflatten(-1, (2, 2)).to(pictures)
    grid = pixel_grid(pictures.shape[-1], pictures.device) @ turn[:, None].mT + shift.to(pictures)[:, None, None]
    return F.grid_sample(pictures, grid, align_corners=False)
