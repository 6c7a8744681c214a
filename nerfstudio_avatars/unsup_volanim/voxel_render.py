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

from nerfstudio_avatars.unsup_volanim.losses.image_pyramid import pixel_grid
from nerfstudio_avatars.unsup_volanim.standard_camera import DISTANCE, FOCAL, REACH, SCENE
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses, blend

Background = Literal["slab", "plate", "none"]
_PLATE_DENSITY, _PLATE_SHARE = 100.0, 0.1
_SLAB = 2


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
    background: Background = "plate"
    """Source of the background: `plate` takes the cube's far tenth, seen by an unmoved camera, as in the paper.
    With `slab`, the mean of the last two slices is behind everything, which costs much less.
    With `none`, everything counts as the object."""
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
    visible: Float[Tensor, "parts"] | None = None,
) -> VoxelPictures:
    """Renders frames, grouped by identity, with the same number for each.

    UVA, sections 3.3 and 3.4: each sample is mapped to the canonical frame of every part, logits of the parts there
    decide how the frames are blended, and the cube is sampled at the blended point.

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
    step = max(1, config.chunk // per_ray)
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
    device, dtype = cubes.device, cubes.dtype
    offset = torch.rand(frames, len(rays), samples, device=device) if jitter else 0.5
    z = rays.near + (torch.arange(samples, device=device) + offset) * ((rays.far - rays.near) / samples)
    z = z.expand(frames, len(rays), samples)
    points = (rays.origins[:, None] + rays.directions[:, None] * z[..., None]).flatten(1, 2)
    extents = half_extents(config.enlarge, device).to(dtype)
    hypotheses = PartPoses(rotation, translation).canonical(points) / extents
    if parts > 1:
        logits = _look_up_parts(cubes[:, :parts], hypotheses)
        canonical, weights = blend(hypotheses, logits)
    else:
        canonical, weights = hypotheses[:, 0], torch.ones_like(hypotheses[..., 0])
    colour_density = _look_up(cubes[:, parts:], canonical).unflatten(2, (len(rays), samples))
    raw = colour_density[:, 3]
    clean = F.relu(raw)
    density = F.relu(raw + density_noise * torch.randn_like(raw)) if density_noise else clean
    colour = colour_density[:, :3]
    weights = weights.unflatten(2, (len(rays), samples))
    if visible is not None:
        weights = weights * visible[:, None, None]
        density = density * weights.sum(1)
        weights = weights / weights.sum(1, keepdim=True).clamp_min(1e-6)
    length = (rays.far - rays.near) / samples * rays.directions.norm(dim=-1)[:, None]
    total, mixed = density, colour * density[:, None]
    if config.background == "plate":
        behind, plate = _plate(cubes[:, parts : parts + 3], points / extents, frames, density_noise)
        behind, plate = behind.unflatten(2, (len(rays), samples)), plate.unflatten(1, (len(rays), samples))
        total = density + plate
        mixed = mixed + behind * plate[:, None]
    optical = total * length
    before = optical.cumsum(-1) - optical
    seen = torch.exp(-before) * -torch.expm1(-optical)
    share = seen / total.clamp_min(1e-5)
    rgb = (share[:, None] * mixed).sum(-1).mT
    of_object = share * density
    accumulation = of_object.sum(-1)
    if config.background == "slab":
        rgb = rgb + (1 - seen.sum(-1))[..., None] * _slab(cubes[:, parts : parts + 3], rays, extents, frames)
    depth = (of_object * (z - (rays.near + rays.far) / 2)).sum(-1)
    segmentation = (of_object[:, None] * weights).sum(-1).mT
    part_density = (weights * clean[:, None]).mean((-2, -1))
    outward = torch.zeros_like(rgb)
    if normals:
        outward = _normals(cubes[:, -1:], canonical, weights.flatten(2), rotation, extents).unflatten(
            2, (len(rays), samples)
        )
        outward = (of_object[:, None] * outward).sum(-1).mT
    return rgb, accumulation, depth, segmentation, outward, part_density


@torch.no_grad()
def _normals(
    shape: Tensor, canonical: Tensor, weights: Float[Tensor, "frames parts points"], rotation: Tensor, extents: Tensor
) -> Float[Tensor, "frames 3 points"]:
    """Directions in which density falls fastest, rotated with the parts (UVA, section 3.9)."""
    solid = F.relu(shape[:, 0])
    step = 2 / (solid.shape[-1] - 1)
    slopes = torch.stack([torch.gradient(solid, spacing=step, dim=axis)[0] for axis in (3, 2, 1)], 1)
    slopes = _look_up(slopes / extents[:, None, None, None], canonical)
    turn = torch.einsum("fpn,fpij->fnij", weights, rotation)
    return -F.normalize(torch.einsum("fnij,fjn->fin", turn, slopes), dim=1)


def _look_up(cubes: Tensor, points: Float[Tensor, "frames points 3"]) -> Float[Tensor, "frames channels points"]:
    """Trilinear values at points in half cubes; zero outside."""
    identities, channels = cubes.shape[:2]
    frames, count = points.shape[:2]
    grid = points.reshape(identities, -1, 1, 1, 3)
    values = F.grid_sample(cubes, grid, align_corners=True)[..., 0, 0]
    values = values.unflatten(2, (frames // identities, count))
    return values.transpose(1, 2).reshape(frames, channels, count)


def _look_up_parts(logits: Tensor, hypotheses: Float[Tensor, "frames parts points 3"]) -> Tensor:
    """Logit of each part at its own hypothesis."""
    identities, parts = logits.shape[:2]
    frames, _, count, _ = hypotheses.shape
    grid = hypotheses.reshape(identities, frames // identities, parts, count, 3).transpose(1, 2)
    values = F.grid_sample(
        logits.reshape(identities * parts, 1, *logits.shape[2:]),
        grid.reshape(identities * parts, -1, 1, 1, 3),
        align_corners=True,
    )
    values = values.reshape(identities, parts, frames // identities, count)
    return values.transpose(1, 2).reshape(frames, parts, count)


def _plate(colours: Tensor, points: Tensor, frames: int, noise: float) -> tuple[Tensor, Tensor]:
    """The far slices of the cube, seen unmoved: their colours and a fixed density."""
    n = colours.shape[-1]
    volume = colours.new_zeros(1, 1, n, n, n)
    volume[:, :, n - max(1, int(n * _PLATE_SHARE)) :] = _PLATE_DENSITY
    points = points.expand(frames, -1, 3)
    density = _look_up(volume.expand(len(colours), -1, -1, -1, -1), points)[:, 0]
    if noise:
        density = F.relu(density + noise * torch.randn_like(density))
    return _look_up(colours, points), density


def _slab(colours: Tensor, rays: SceneRays, extents: Tensor, frames: int) -> Float[Tensor, "frames rays 3"]:
    """Colours behind everything, where rays leave the scene."""
    reach = (REACH - rays.origins[:, 2]) / rays.directions[:, 2]
    place = ((rays.origins + reach[:, None] * rays.directions) / extents)[None, :, None, :2]
    picture = colours[:, :, -_SLAB:].mean(2)
    identities = len(colours)
    seen = F.grid_sample(picture, place.expand(identities, -1, -1, -1), align_corners=True, padding_mode="border")
    return seen[..., 0].mT.repeat_interleave(frames // identities, 0)


SOLID = 0.5
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
    solid, covered = accumulation > SOLID, accumulation.clamp_min(1e-4)
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
