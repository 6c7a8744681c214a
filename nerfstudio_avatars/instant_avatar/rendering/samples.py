"""Inputs and outputs of marching: its settings, and packed samples with their canonical roots."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from nerfstudio_avatars.instant_avatar.articulation.roots import Roots

MAX_ROOTS = 3
"""Canonical roots kept for one sample."""
CUT_CAP = 0.5
"""Largest optical depth that one step adds to the ray cut: the cache is a maximum over a cell, so a thin dense surface
would otherwise end the ray before it."""


@dataclass(frozen=True)
class MarchSettings:
    """How finely and how far to march."""

    step: float = 0.0078
    """Distance between samples, metres (the paper: 2 m / 256)."""
    max_samples: int = 192
    """Samples kept on one ray."""
    cut: float = 6.0
    """Cached optical depth at which a ray ends."""


@dataclass(frozen=True)
class Samples:
    """Packed samples of some rays, sorted by ray and depth, and the canonical roots of each (at least one), sorted by
    sample. In a `Budget`, padding samples of no ray follow, and padding roots that belong to the last of them."""

    ray: Int[Tensor, "samples"]
    """The number of rays for padding."""
    t: Float[Tensor, "samples"]
    roots: Roots
