"""What cubes whose parts have moved hold at points: the parts' densities, and the colours and normals with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses, blend_parts


@dataclass(frozen=True)
class PosedSamples:
    """Values at points of posed objects."""

    parts: Float[Tensor, "frames parts points"]
    """Density of each part, noise included; its sum is that of the object."""
    clean: Float[Tensor, "frames parts points"]
    """The same without noise."""
    colour: Float[Tensor, "frames 3 points"]
    """Colours, multiplied by density."""
    normals: Float[Tensor, "frames 3 points"] | None
    """Outward directions, multiplied by density."""


def blended(
    cubes: Float[Tensor, "identities channels n n n"],
    poses: PartPoses,
    hypotheses: Float[Tensor, "frames parts points 3"],
    noise: Float[Tensor, "frames points"] | None,
    slopes: Float[Tensor, "identities 3 n n n"] | None,
    visible: Float[Tensor, " parts"] | None,
) -> PosedSamples:
    """Reads the cube once for each point, where the parts' logits blend its canonical positions (UVA, section 3.3).

    Args:
        cubes: part logits, RGB, and density before activation; frames are grouped by identity.
        hypotheses: canonical positions of the points for each part, in half cubes.
        noise: added to the density before activation.
        slopes: from `density_slopes`, for normals.
        visible: factor on the density of each part.
    """
    parts = hypotheses.shape[1]
    if parts > 1:
        canonical, weights = blend_parts(hypotheses, _look_up_parts(cubes[:, :parts], hypotheses))
    else:
        canonical, weights = hypotheses[:, 0], torch.ones_like(hypotheses[..., 0])
    if visible is not None:
        weights = weights * visible[:, None]
    values = look_up(cubes[:, parts:], canonical)
    clean = F.relu(values[:, 3])
    density = weights * (clean if noise is None else F.relu(values[:, 3] + noise))[:, None]
    shown = density.sum(1, keepdim=True)
    normals = None
    if slopes is not None:
        turn = torch.einsum("fpn,fpij->fnij", weights, poses.rotation)
        normals = shown * _outward(torch.einsum("fnij,fjn->fin", turn, look_up(slopes, canonical)))
    return PosedSamples(density, weights * clean[:, None], values[:, :3] * shown, normals)


def composed(
    cubes: Float[Tensor, "identities channels n n n"],
    poses: PartPoses,
    hypotheses: Float[Tensor, "frames parts points 3"],
    noise: Float[Tensor, "frames points"] | None,
    slopes: Float[Tensor, "identities 3 n n n"] | None,
    visible: Float[Tensor, " parts"] | None,
) -> PosedSamples:
    """Reads the cube once for each part: parts are rigid objects, cut out of the canonical cube by its logits.

    With w the softmax of the logits over the parts in each voxel, and x_p where the point was before part p moved, the
    density is the sum of w_p(x_p) relu(density(x_p)). Parts that moved alike make the picture of a single part.
    Arguments are those of `blended`; noise stays within the cube.
    """
    parts, points = hypotheses.shape[1:3]
    weights = _look_up_parts(cubes[:, :parts].softmax(1), hypotheses, "border")
    if visible is not None:
        weights = weights * visible[:, None]
    values = look_up(cubes[:, parts:], hypotheses.flatten(1, 2)).unflatten(2, (parts, points))
    clean = weights * F.relu(values[:, 3])
    density = clean
    if noise is not None:
        within = (hypotheses.abs() < 1 + 2 / (cubes.shape[-1] - 1)).all(-1)
        density = weights * F.relu(values[:, 3] + noise[:, None] * within)
    normals = None
    if slopes is not None:
        there = look_up(slopes, hypotheses.flatten(1, 2)).unflatten(2, (parts, points))
        there = _outward(torch.einsum("fpij,fjpn->fipn", poses.rotation, there))
        normals = (density[:, None] * there).sum(2)
    return PosedSamples(density, clean, (density[:, None] * values[:, :3]).sum(2), normals)


@torch.no_grad()
def density_slopes(
    density: Float[Tensor, "identities 1 n n n"], extents: Float[Tensor, "3"]
) -> Float[Tensor, "identities 3 n n n"]:
    """Directions in which density rises fastest (UVA, section 3.9).

    Args:
        density: before activation.
        extents: half extents of the cube.
    """
    solid = F.relu(density[:, 0])
    step = 2 / (solid.shape[-1] - 1)
    slopes = torch.stack([torch.gradient(solid, spacing=step, dim=axis)[0] for axis in (3, 2, 1)], 1)
    return slopes / extents[:, None, None, None]


def look_up(
    cubes: Float[Tensor, "identities channels n n n"], points: Float[Tensor, "frames points 3"]
) -> Float[Tensor, "frames channels points"]:
    """Trilinear values at points in half cubes; zero outside."""
    identities, channels = cubes.shape[:2]
    frames, count = points.shape[:2]
    grid = points.reshape(identities, -1, 1, 1, 3)
    values = F.grid_sample(cubes, grid, align_corners=True)[..., 0, 0]
    values = values.unflatten(2, (frames // identities, count))
    return values.transpose(1, 2).reshape(frames, channels, count)


def _look_up_parts(
    volumes: Float[Tensor, "identities parts n n n"],
    hypotheses: Float[Tensor, "frames parts points 3"],
    outside: Literal["zeros", "border"] = "zeros",
) -> Float[Tensor, "frames parts points"]:
    """The value of each part's volume at its own hypothesis; outside 0, or that of the nearest place inside."""
    identities, parts = volumes.shape[:2]
    frames, _, count, _ = hypotheses.shape
    grid = hypotheses.reshape(identities, frames // identities, parts, count, 3).transpose(1, 2)
    values = F.grid_sample(
        volumes.reshape(identities * parts, 1, *volumes.shape[2:]),
        grid.reshape(identities * parts, -1, 1, 1, 3),
        align_corners=True,
        padding_mode=outside,
    )
    values = values.reshape(identities, parts, frames // identities, count)
    return values.transpose(1, 2).reshape(frames, parts, count)


def _outward(slopes: Tensor) -> Tensor:
    return -F.normalize(slopes, dim=1)
