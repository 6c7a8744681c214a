"""Inputs and outputs of marching: the space that rays march through, and packed samples with their roots."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from nerfstudio_avatars.instant_avatar.articulation.posed_cells import PosedCells
from nerfstudio_avatars.instant_avatar.articulation.roots import Roots
from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import SkinningVolume

MAX_ROOTS = 3
"""Maximum number of canonical roots of a sample."""
CUT_CAP = 0.5
"""Largest optical depth that one step adds to the ray cut: the cache is a maximum over a cell, so rays would otherwise
end in front of thin dense surfaces."""


@dataclass(frozen=True)
class MarchSettings:
    """Step size and limits of marching."""

    step: float = 0.0078
    """Distance between samples in metres (2 m / 256 in the paper)."""
    max_samples: int = 192
    """Maximum number of samples on a ray."""
    cut: float = 6.0
    """Cached optical depth that ends a ray."""


@dataclass(frozen=True)
class PosedSpace:
    """The space around a posed body, which rays march through."""

    posed: PosedCells
    volume: SkinningVolume
    cached_density: Float[Tensor, "x y z"]
    """Density of the canonical half-size cells in 1/m, negative where they are not occupied."""
    settings: MarchSettings


@dataclass(frozen=True)
class Samples:
    """Packed samples of some rays, sorted by ray and depth, and the canonical roots of each (at least one), sorted by
    sample. In a `Budget`, padding samples of no ray follow, and padding roots that belong to the last of them."""

    ray: Int[Tensor, " samples"]
    """The number of rays for padding."""
    t: Float[Tensor, " samples"]
    roots: Roots
