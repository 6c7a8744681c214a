"""The training losses of `unsup-volanim`: those of the paper, and aids for small data sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.distributed
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from nerfstudio_avatars.unsup_volanim.losses.image_pyramid import antialiased_resize, pixel_grid
from nerfstudio_avatars.unsup_volanim.losses.pixel_pyramid import pixel_pyramid_loss
from nerfstudio_avatars.unsup_volanim.network import PoseEstimate, VolumetricAnimation
from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable
from nerfstudio_avatars.unsup_volanim.part_search import PartSearchConfig, search_parts
from nerfstudio_avatars.unsup_volanim.part_seeds import part_middles
from nerfstudio_avatars.unsup_volanim.pose_search import PoseSearch
from nerfstudio_avatars.unsup_volanim.rehearsal import Rehearsal, rehearse
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
from nerfstudio_avatars.unsup_volanim.voxel_render import SceneRays, VoxelPictures, standard_rays


@dataclass
class AnimationLossConfig:
    """Weights of the losses; losses with a weight of 0 are not computed."""

    pixel: float = 10.0
    """Weight of the mean absolute colour error, measured at several sizes; the paper has no such loss."""
    pixel_levels: int = 4
    """Number of sizes to measure the colour error at."""
    perceptual: float = 10.0
    """Weight of the perceptual error, measured at full, half and quarter size."""
    equivariance: float = 10.0
    """Weight of the loss that makes keypoints move as a warped picture does."""
    projection: float = 10.0
    """Weight of the loss that puts keypoints where the pose of their part projects them."""
    pull: float = 10.0
    """Weight of the loss that brings parts which are not seen back to the most visible one."""
    pull_threshold: float = 0.1
    """Mean density below which a part counts as not seen."""
    mask: float = 10.0
    """Weight of the cross-entropy between accumulation and mask, if masks are given."""
    mask_as_logits: bool = False
    """Whether to read the shares of object and background as logits, as the paper's code does to bound the gradient."""
    articulated_pull: float | None = None
    """Weight of `pull` once the object is articulated; by default it stays the same."""
    articulated_pull_threshold: float | None = None
    """Value of `pull_threshold` once the object is articulated; by default it stays the same."""
    articulated_mask: float | None = None
    """Weight of `mask` once the object is articulated; by default it stays the same."""
    found: float = 12.0
    """Weight of the loss that puts keypoints where poses that were found project them.
    It is used during the search, and while poses are taken from the table."""
    relative: float = 12.0
    """Weight of the loss that teaches the second network of `part_detector upright` the poses in the table."""

    def check(self, perceptual: bool) -> None:
        """Checks that some loss compares pictures.

        Args:
            perceptual: whether there is a perceptual loss.

        Raises:
            RuntimeError: if there is none.
        """
        if not self.pixel and not perceptual:
            raise RuntimeError(
                "No loss compares pictures: losses.pixel is 0 (as the paper has it), and the perceptual "
                "loss is off or without weights, see above. Install the weights, or use "
                "--pipeline.model.losses.pixel 10."
            )

    def when_articulated(self) -> AnimationLossConfig:
        """The weights in the last phase."""
        names = ("pull", "pull_threshold", "mask")
        then = {name: getattr(self, f"articulated_{name}") for name in names}
        return replace(self, **{name: value for name, value in then.items() if value is not None})


@dataclass(frozen=True)
class AnimationBatch:
    """Frames grouped by identity, with the same number for each."""

    images: Float[Tensor, "frames 3 size size"]
    """Images from 0 to 1."""
    masks: Float[Tensor, "frames 1 size size"] | None
    """Share of each pixel that the object covers; None without masks."""
    identities: Int[Tensor, " identities"]
    rows: Int[Tensor, " frames"]
    """Numbers of the frames, for the pose search."""

    @classmethod
    def of(cls, batch: dict[str, Tensor], first_row: Int[Tensor, " clips"], device: torch.device) -> AnimationBatch:
        """A batch of `ClipFramesDataManager.next_train`.

        Args:
            first_row: number of the first frame of each clip.
        """
        images, masks = (batch[name].to(device).permute(0, 3, 1, 2) for name in ("image", "mask"))
        rows = (first_row[batch["clip"].cpu()] + batch["frame"].cpu()).to(device)
        identities, counts = torch.unique_consecutive(batch["identity"].to(device), return_counts=True)
        assert bool((counts == counts[0]).all()), "a batch has equally many frames of each identity"
        return cls(images, masks if bool(batch["has_mask"].all()) else None, identities, rows)


@dataclass(frozen=True)
class AnimationAids:
    """The aids used in a step, and their progress."""

    search: PoseSearch | None = None
    """Whether to render with poses found by the search instead of the detector."""
    table: PartPoseTable | None = None
    """Whether to render with poses from the table instead of the detector."""
    part_search: PartSearchConfig | None = None
    """How poses of parts in the table are searched for, if they are."""
    progress: float = 0.0
    """Share that has passed, of the search or, with a table, of the phase."""
    detect: bool = True
    """Whether the detector is trained."""
    code_scale: float = 1.0
    """Factor on the identity codes: near 0, all identities are the same, and share one canonical frame."""
    levels: int | None = None
    """Number of resolutions of the generator to use; by default all."""
    shape_scale: float = 1.0
    """Factor on the density of the generator: near 0, the object keeps the shape of the prior."""
    density_noise: float = 0.0
    """Standard deviation of the noise added to density while the shape forms."""
    render_size: int | None = None
    """Side of the rendered pictures in pixels; by default that of the images."""
    patch: int | None = None
    """Side in pixels of the square to cut out of them at random; by default all of it."""
    samples: int | None = None
    """Number of samples to take along each ray; by default as many as the renderer's options say."""
    whole_share: float = 0.0
    """Share of the steps that draw whole pictures, shrunk to that side, instead."""


@dataclass(frozen=True)
class AnimationStep:
    """The results of a step."""

    losses: dict[str, Tensor]
    """Weighted losses."""
    pictures: VoxelPictures
    poses: PartPoses
    """Poses that the pictures were rendered with."""
    psnr: Float[Tensor, ""]
    """PSNR of the pictures against the frames, decibels."""


def animation_step(
    network: VolumetricAnimation,
    batch: AnimationBatch,
    config: AnimationLossConfig,
    aids: AnimationAids,
    perceptual: Callable[[Tensor, Tensor], Tensor] | None = None,
    true_poses: PartPoses | None = None,
) -> AnimationStep:
    """Losses of one batch.

    Args:
        perceptual: compares pictures (frames, size, size, 3); see `losses.perceptual`.
        true_poses: poses to use instead of any others (as an upper bound in benchmarks).
    """
    images = batch.images
    size, seen_size = aids.render_size or images.shape[-1], network.config.detector.input_size
    codes = network.embedding(batch.identities) * aids.code_scale
    cubes = network.cubes_of(codes, aids.levels, aids.shape_scale, network.detail_of(batch.identities))
    losses: dict[str, Tensor] = {}
    taught: PartPoses | None = None
    found: PoseEstimate | None = None
    poses = true_poses
    again = _rehearsal(network, cubes, batch, aids.table) if aids.detect else None
    if aids.detect:
        small = antialiased_resize(images, seen_size)
        shown = [small]
        if again is not None:
            shown.append(antialiased_resize(again.images, seen_size))
        elif config.equivariance:
            warped, warp = _random_warp(small)
            shown.append(warped)
        keypoints, others = network.detect(torch.cat(shown)).split([len(images), len(images) * (len(shown) - 1)])
        found = network.poses_of(keypoints)
        if again is not None:
            losses["rehearsed"] = config.found * (others - network.project(again.whole).detach()).abs().mean()
        elif config.equivariance:
            back = others @ warp[:, None, :, :2].mT + warp[:, None, None, :, 2]
            losses["equivariance"] = config.equivariance * (found.keypoints - back).abs().mean()
        if config.projection:
            losses["projection"] = config.projection * (found.keypoints - found.projected).abs().mean()
        if poses is None and network.detected_parts == network.parts:
            poses = found.poses
    if aids.search is not None:
        detected = found.poses.detach() if found else None
        poses = taught = aids.search.improve(network, cubes, images, batch.masks, batch.rows, aids.progress, detected)
    if aids.table is not None:
        middles, shares = part_middles(cubes.detach(), network.scene * network.config.render.enlarge)
        detected = found.poses.detach() if found is not None else None
        if aids.part_search is not None and network.parts > 1:
            seen = images, batch.masks, batch.rows
            search_parts(aids.table, aids.part_search, network, cubes, *seen, middles, shares, aids.progress)
        poses = aids.table.learning(batch.rows, middles, aids.progress, shares, detected)
        taught = poses.detach()
        if network.relative is not None and bool(network.articulated):
            whole = aids.table.whole(batch.rows)
            network.relative.follow(middles, shares)
            if aids.detect:
                relative = network.relative.loss(images, whole, taught)
                if again is not None:
                    relative = relative + network.relative.loss(again.images, again.whole, again.parts)
                losses["relative"] = config.relative * relative
            taught = whole
    if found is not None and taught is not None:
        losses["found"] = config.found * (found.keypoints - network.project(taught).detach()).abs().mean()
    assert poses is not None, "poses come from the detector, the search, the table or the truth"
    if aids.patch and torch.rand(()) < aids.whole_share:
        size = aids.patch
    window = _Window.somewhere(size, aids.patch or size)
    rays, noise = window.rays(images.device), aids.density_noise
    pictures = network.render(cubes, poses, rays, aids.samples, jitter=True, density_noise=noise)
    rendered = pictures.rgb.mT.unflatten(2, (window.side, window.side))
    target = window.of(antialiased_resize(images, size))
    psnr = -10 * F.mse_loss(rendered.detach(), target).log10()
    if config.pixel:
        losses["pixel"] = config.pixel * pixel_pyramid_loss(_last(rendered), _last(target), config.pixel_levels)
    if config.perceptual and perceptual is not None:
        losses["perceptual"] = config.perceptual * perceptual(_last(rendered), _last(target))
    if config.mask and batch.masks is not None:
        accumulation = pictures.accumulation.unflatten(1, (window.side, window.side))
        masks = window.of(antialiased_resize(batch.masks, size)).clamp(0, 1)  # means of ones exceed one by rounding
        losses["mask"] = config.mask * mask_loss(accumulation, masks[:, 0], config.mask_as_logits)
    if config.pull and found is not None and network.detected_parts == network.parts:
        losses["pull"] = config.pull * pull_loss(pictures.part_density, found.poses, config.pull_threshold)
    return AnimationStep(losses, pictures, poses, psnr)


def _rehearsal(
    network: VolumetricAnimation, cubes: Tensor, batch: AnimationBatch, table: PartPoseTable | None
) -> Rehearsal | None:
    """Renderings to learn poses from, once there are motions of parts to show."""
    if table is None or network.relative is None or network.parts == 1 or not network.config.relative.rehearsal:
        return None
    visited = table.visited_rows()
    return rehearse(network, cubes.detach(), table, batch.rows, visited) if len(visited) else None


@dataclass(frozen=True)
class _Window:
    """A square region of square pictures."""

    size: int
    side: int
    top: int
    left: int

    @classmethod
    def somewhere(cls, size: int, side: int) -> _Window:
        """A random region."""
        side = min(side, size)
        top, left = torch.randint(0, size - side + 1, (2,)).tolist()
        return cls(size, side, top, left)

    def of(self, pictures: Shaped[Tensor, "*frames size size"]) -> Shaped[Tensor, "*frames side side"]:
        """The region of pictures."""
        return pictures[..., self.top : self.top + self.side, self.left : self.left + self.side]

    def rays(self, device: torch.device) -> SceneRays:
        """Rays of its pixels, row by row."""
        rays = standard_rays(self.size, device)
        pixels = torch.arange(len(rays), device=device).reshape(1, 1, self.size, self.size)
        return rays[self.of(pixels).flatten()]


def mask_loss(
    accumulation: Float[Tensor, "frames h w"], masks: Float[Tensor, "frames h w"], as_logits: bool = False
) -> Float[Tensor, ""]:
    """Cross-entropy of object against background."""
    if not as_logits:
        return F.binary_cross_entropy(accumulation.clamp(1e-4, 1 - 1e-4), masks)
    shares = torch.stack([accumulation, 1 - accumulation], 1).clamp(1e-5, 1 - 1e-5)
    return F.cross_entropy(shares, torch.stack([masks, 1 - masks], 1))


def pull_loss(part_density: Float[Tensor, "frames parts"], poses: PartPoses, threshold: float) -> Float[Tensor, ""]:
    """Distance of poses of unseen parts from that of the most visible part, or from no motion if nothing is seen.

    Unsupervised Volumetric Animation, section 3.5, with C = [R | t]. Densities are averaged over all processes.
    """
    density = part_density.detach().mean(0)
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(density)
        density = density / torch.distributed.get_world_size()
    unseen = F.relu(threshold - density)
    first = int(density.argmax())
    rotation, translation = (
        poses.rotation[:, first : first + 1].detach(),
        poses.translation[:, first : first + 1].detach(),
    )
    if density[first] < threshold:
        rotation, translation = torch.eye(3, device=density.device), torch.zeros_like(translation)
    distance = (poses.rotation - rotation).abs().sum((-2, -1)) + (poses.translation - translation).abs().sum(-1)
    return (unseen * distance.mean(0) / 12).mean()


def _last(pictures: Float[Tensor, "frames 3 h w"]) -> Float[Tensor, "frames h w 3"]:
    """Moves channels last, as the losses need."""
    return pictures.permute(0, 2, 3, 1)


def _random_warp(images: Float[Tensor, "frames 3 size size"]) -> tuple[Tensor, Float[Tensor, "frames 2 3"]]:
    """Warps pictures at random; also returns the affine map from warped to original positions."""
    matrix = torch.eye(2, 3, device=images.device) + 0.1 * torch.randn(len(images), 2, 3, device=images.device)
    grid = pixel_grid(images.shape[-1], images.device)
    places = grid @ matrix[:, None, :, :2].mT + matrix[:, None, None, :, 2]
    return F.grid_sample(images, places, padding_mode="reflection", align_corners=False), matrix
