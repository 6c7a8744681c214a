"""Activations that turn the field's raw output into density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import SkinningVolume

LARGEST_EXPONENT = 10.0
"""Densities are limited to e^10 per metre, which is opaque within a tenth of a millimetre."""
OPAQUE = 2e-4
"""Transmittance below which the numba twin ends a ray."""
FAINT = 4e-4
"""Accumulated weight below which the numba twin does not evaluate the colour of samples."""


@dataclass(frozen=True)
class DensityRule:
    """Turns the raw output of the field into density."""

    kind: Literal["exp", "relu"] = "exp"
    template_prior: float = 0.0
    """Length in metres: raw density starts at minus the distance to the template divided by it. 0 means no template."""

    def __call__(
        self, raw: Float[Tensor, " points"], x_canonical: Float[Tensor, "points 3"], volume: SkinningVolume
    ) -> Float[Tensor, " points"]:
        """Density in 1/m."""
        if self.template_prior > 0:
            # The prior's gradient must reach x: without it pose gradients are half as large, some of the wrong sign.
            raw = raw - (volume.distance_at(x_canonical) / self.template_prior).clamp(-4, 4)
        return raw.relu() if self.kind == "relu" else torch.exp(raw.clamp(max=LARGEST_EXPONENT))
