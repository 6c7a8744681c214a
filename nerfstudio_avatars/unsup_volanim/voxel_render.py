"""Renders canonical cubes whose parts have moved: volumetric skinning and emission-absorption rendering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from nerfstudio_avatars.backend import use_numba
from nerfstudio_avatars.unsup_volanim.losses.image_pyramid import pixel_grid
from nerfstudio_avatars.unsup_volanim.posed_cubes import blended, composed, density_slopes, look_up
from nerfstudio_avatars.unsup_volanim.standard_camera import DISTANCE, FOCAL, REACH, SCENE
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

BackgroundShape = Literal["slab", "plate", "none"]
Skinning = Literal["blend", "compose"]
_PLATE_DENSITY, _PLATE_SHARE = 100.0, 0.1
SLAB = 2
"""Number of slices at the far end of a cube whose mean is behind everything, with the background `slab`."""


@dataclass(frozen=True)
class SceneRays:
    """Rays relative to the middle of the object (x right, y down, z forward): origin + z * direction, z from near to
    far."""

    origins: Float[Tensor, "rays 3"]
    directions: Float[Tensor, "rays 3"]
    near: float
    far: float

    def __getitem__(self, rays: slice | Tensor) -> SceneRays:
        """Some of the rays."""
        return SceneRays(self.origins[rays], self.directions[rays], self.near, self.far)

    def __len__(self) -> int:
        return len(self.origins)


def standard_rays(size: int, device: torch.device | str = "cpu") -> SceneRays:
    """Rays of the pixels of a square picture of the standard camera, row by row."""
    pixels = pixel_grid(size, device).flatten(0, 1) / FOCAL
    directions = torch.cat([pixels, torch.ones_like(pixels[:, :1])], -1)
    origins = torch.tensor([0.0, 0.0, -DISTANCE], device=device).expand_as(directions)
    return SceneRays(origins, directions, DISTANCE - REACH, DISTANCE + REACH)


@dataclass
class VoxelRenderConfig:
    """Options of rendering cubes."""

    samples: int = 48
    """Number of samples to take along each ray in training."""
    enlarge: float = 1.075
    """Factor by which the cube is larger than the scene."""
    background: BackgroundShape = "plate"
    """Source of the background: `plate` takes the cube's far tenth, seen by an unmoved camera, as in the paper.
    With `slab`, the mean of the last two slices is behind everything, which costs much less.
    With `none`, everything counts as the object."""
    skinning: Skinning = "blend"
    """Way to move the parts: `blend` reads the cube at a blend of their canonical positions, as in the paper.
    With `compose`, each part is a rigid object cut out of the cube, which shows large motions without ghosts."""
    chunk: int = 1 << 22
    """Maximum number of samples times parts to render at once in training.
    More are rendered in pieces whose intermediate results are computed again in the backward pass, to save memory."""


@dataclass(frozen=True)
class VoxelPictures:
    """The rendering of rays. Segmentations and depth are summed along rays with the weights of colours."""

    rgb: Float[Tensor, "frames rays 3"]
    """Colours, including the background."""
    accumulation: Float[Tensor, "frames rays"]
    """Accumulation of the object: 0 where the ray misses it, 1 where it sees nothing else."""
    depth: Float[Tensor, "frames rays"]
    """Depth of the object along the camera axis, relative to its middle; not divided by the accumulation."""
    parts: Float[Tensor, "frames rays parts"]
    """Share of each part in the accumulation."""
    normals: Float[Tensor, "frames rays 3"]
    """Outward directions (x right, y down, z away), summed like colours; zeros unless requested."""
    part_density: Float[Tensor, "frames parts"]
    """Mean density of each part over all samples, for the pull loss."""


def half_extents(enlarge: float, device: torch.device | str = "cpu") -> Float[Tensor, "3"]:
    """Half extents of the canonical cube."""
    return torch.tensor(SCENE, device=device) * enlarge


def render_voxels(
    cubes: Float[Tensor, "identities channels n n n"],
    poses: PartPoses,
    rays: SceneRays,
    config: VoxelRenderConfig,
    jitter: bool = False,
    density_noise: float = 0.0,
    normals: bool = False,
    visible: Float[Tensor, " parts"] | None = None,
) -> VoxelPictures:
    """Renders frames, grouped by identity, with the same number for each.

    UVA, sections 3.3 and 3.4: each sample is mapped to the canonical frame of every part, logits of the parts there
    decide how the frames are blended, and the cube is sampled at the blended point. With `compose`, the cube is sampled
    in the frame of every part, and the parts' densities are added. See `posed_cubes`.

    Args:
        cubes: part logits, RGB, and density before activation.
        poses: (frames, parts).
        jitter: whether to move samples at random within their share of the ray.
        density_noise: standard deviation of the noise added before activation.
        normals: whether to compute normals too; without gradient.
        visible: factor on the density of each part; by default ones.
    """
    parts = cubes.shape[1] - 4
    per_ray = len(poses.rotation) * config.samples * parts
    # What is fused keeps nothing for its gradient.
    step = len(rays) if is_fused(cubes, config) else max(1, config.chunk // per_ray)
    pieces = []
    for start in range(0, len(rays), step):
        piece = rays[start : start + step]
        arguments = (cubes, poses.rotation, poses.translation, piece, config, jitter, density_noise, normals, visible)
        if len(piece) < len(rays) and torch.is_grad_enabled():
            pieces.append(checkpoint(_render, *arguments, use_reentrant=False))
        else:
            pieces.append(_render(*arguments))
    if len(pieces) == 1:
        return VoxelPictures(*pieces[0])
    *seen, densities = zip(*pieces, strict=True)
    mean = sum(density * (piece[0].shape[1] / len(rays)) for density, piece in zip(densities, pieces, strict=True))
    return VoxelPictures(*(torch.cat(column, 1) for column in seen), mean)  # type: ignore[call-arg,arg-type]


def _render(
    cubes: Tensor, rotation: Tensor, translation: Tensor, rays: SceneRays, config: VoxelRenderConfig,
    jitter: bool, density_noise: float, normals: bool, visible: Tensor | None,
) -> tuple[Tensor, ...]:  # fmt: skip
    frames, parts, samples = len(rotation), cubes.shape[1] - 4, config.samples
    z, noise = _sample(cubes, frames, rays, samples, jitter, density_noise)
    extents = half_extents(config.enlarge, cubes.device).to(cubes.dtype)
    slopes = density_slopes(cubes[:, -1:], extents) if normals else None
    length = (rays.far - rays.near) / samples * rays.directions.norm(dim=-1)[:, None]
    if is_fused(cubes, config):
        from nerfstudio_avatars.unsup_volanim._numba_composition import draw_composed

        rgb, *others = draw_composed(
            cubes, rotation, translation, rays.origins, rays.directions, z, noise, length[:, 0],
            (rays.near + rays.far) / 2, extents, slopes, visible,
        )  # fmt: skip
        return before_slab(rgb, others[0], cubes, rays, config, extents), *others
    points = (rays.origins[:, None] + rays.directions[:, None] * z[..., None]).flatten(1, 2)
    poses = PartPoses(rotation, translation)
    hypotheses = poses.canonical(points) / extents
    read = composed if config.skinning == "compose" else blended
    inside = read(cubes, poses, hypotheses, None if noise is None else noise.flatten(1), slopes, visible)
    along = (len(rays), samples)
    by_part, mixed = inside.parts.unflatten(2, along), inside.colour.unflatten(2, along)
    density = by_part.sum(1)
    total = density
    if config.background == "plate":
        behind, plate = _plate(cubes[:, parts : parts + 3], points / extents, frames, density_noise)
        plate = plate.unflatten(1, along)
        total = density + plate
        mixed = mixed + behind.unflatten(2, along) * plate[:, None]
    optical = total * length
    before = optical.cumsum(-1) - optical
    share = torch.exp(-before) * -torch.expm1(-optical) / total.clamp_min(1e-5)
    rgb = (share[:, None] * mixed).sum(-1).mT
    accumulation = (share * density).sum(-1)
    rgb = before_slab(rgb, accumulation, cubes, rays, config, extents)
    depth = (share * density * (z - (rays.near + rays.far) / 2)).sum(-1)
    segmentation = (share[:, None] * by_part).sum(-1).mT
    part_density = inside.clean.mean(-1)
    outward = torch.zeros_like(rgb)
    if inside.normals is not None:
        outward = (share[:, None] * inside.normals.unflatten(2, along)).sum(-1).mT
    return rgb, accumulation, depth, segmentation, outward, part_density


def is_fused(cubes: Tensor, config: VoxelRenderConfig) -> bool:
    """Whether the twin of `composed` draws."""
    return config.skinning == "compose" and config.background != "plate" and use_numba(cubes)


def _sample(
    cubes: Tensor, frames: int, rays: SceneRays, samples: int, jitter: bool, density_noise: float
) -> tuple[Float[Tensor, "frames rays samples"], Float[Tensor, "frames rays samples"] | None]:
    """Distances of the samples along the camera axis, and the noise on their density."""
    shape = (frames, len(rays), samples)
    offset = torch.rand(shape, device=cubes.device) if jitter else 0.5
    z = rays.near + (torch.arange(samples, device=cubes.device) + offset) * ((rays.far - rays.near) / samples)
    noise = torch.randn(shape, device=cubes.device, dtype=cubes.dtype) * density_noise if density_noise else None
    return z.expand(shape), noise


def _plate(colours: Tensor, points: Tensor, frames: int, noise: float) -> tuple[Tensor, Tensor]:
    """The far slices of the cube, seen unmoved: their colours and a fixed density."""
    n = colours.shape[-1]
    volume = colours.new_zeros(1, 1, n, n, n)
    volume[:, :, n - max(1, int(n * _PLATE_SHARE)) :] = _PLATE_DENSITY
    points = points.expand(frames, -1, 3)
    density = look_up(volume.expand(len(colours), -1, -1, -1, -1), points)[:, 0]
    if noise:
        density = F.relu(density + noise * torch.randn_like(density))
    return look_up(colours, points), density


def before_slab(
    rgb: Float[Tensor, "frames rays 3"],
    accumulation: Float[Tensor, "frames rays"],
    cubes: Tensor,
    rays: SceneRays,
    config: VoxelRenderConfig,
    extents: Tensor,
) -> Float[Tensor, "frames rays 3"]:
    """The object's colours, over those that are behind everything, where rays leave the scene."""
    if config.background != "slab":
        return rgb
    reach = (REACH - rays.origins[:, 2]) / rays.directions[:, 2]
    place = ((rays.origins + reach[:, None] * rays.directions) / extents)[None, :, None, :2]
    picture = cubes[:, -4:-1, -SLAB:].mean(2)
    identities = len(cubes)
    seen = F.grid_sample(picture, place.expand(identities, -1, -1, -1), align_corners=True, padding_mode="border")
    behind = seen[..., 0].mT.repeat_interleave(len(rgb) // identities, 0)
    return rgb + (1 - accumulation)[..., None] * behind


_SOLID = 0.5
"""Accumulation above which a pixel has depth and a normal."""


def as_images(seen: Sequence[VoxelPictures], middle: float, height: int, width: int) -> dict[str, Tensor]:
    """Joins the pieces of one frame.

    Args:
        seen: renderings of successive rays of one frame, row by row.
        middle: distance of the middle of the object from the camera, in half pictures.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Returns:
        `rgb`, `accumulation`, `depth` (half pictures from the camera), `normal` (-1 to 1 as colours), `parts` (one
        colour each), `part_shares` (height, width, parts).
    """

    def whole(name: str) -> Tensor:
        return torch.cat([getattr(piece, name)[0] for piece in seen]).reshape(height, width, -1)

    accumulation, shares = whole("accumulation"), whole("parts")
    solid, covered = accumulation > _SOLID, accumulation.clamp_min(1e-4)
    normals = F.normalize(whole("normals"), dim=-1) * 0.5 + 0.5
    return {
        "rgb": whole("rgb").clamp(0, 1),
        "accumulation": accumulation,
        "depth": torch.where(solid, middle + whole("depth") / covered, middle + 1.0),
        "normal": torch.where(solid, normals, 1.0),
        "parts": shares @ part_colours(shares.shape[-1]).to(shares),
        "part_shares": shares,
    }


def part_colours(parts: int) -> Float[Tensor, "parts 3"]:
    """A colour for each part, evenly spaced in hue."""
    hue = torch.arange(parts)[:, None] / max(parts, 1) + torch.tensor([0.0, 2 / 3, 1 / 3])
    return (0.5 + 0.5 * torch.cos(2 * torch.pi * hue)).clamp(0, 1)
