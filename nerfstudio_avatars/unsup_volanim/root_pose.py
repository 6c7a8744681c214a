"""Where the parts of an object are at rest, and the motion of the whole that they share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation
from nerfstudio_avatars.unsup_volanim.part_seeds import part_middles
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
from nerfstudio_avatars.unsup_volanim.voxel_render import half_extents

_AVERAGED = 8
"""Maximum number of identities that are averaged over."""
_LEAST = 1e-3
"""Share of the object below which a part has no place of its own."""


@dataclass(frozen=True)
class PartPlaces:
    """The parts at rest, the same for all identities, so that motions mean the same for all."""

    middles: Float[Tensor, "parts 3"]
    """Centroids, in half pictures (x right, y down, z away)."""
    shares: Float[Tensor, " parts"]
    """Shares of all that is solid."""

    @property
    def middle(self) -> Float[Tensor, "3"]:
        """The centroid of the object."""
        return self.shares @ self.middles

    def root(self, poses: PartPoses) -> PartPoses:
        """The motion of the whole object: the mean of those of its parts, by their shares.

        Args:
            poses: (frames, parts).

        Returns:
            (frames, 1): the rotation nearest to the mean of rotations; the centroid moves as the mean of the parts'.
        """
        shares = self.shares.to(poses.rotation)
        mean = torch.einsum("p,fpij->fij", shares, poses.rotation)
        left, _, right = torch.linalg.svd(mean)
        # Nothing is mirrored.
        signs = torch.ones_like(poses.translation[:, 0])
        signs[:, 2] = torch.linalg.det(left @ right)
        rotation = left * signs[:, None] @ right
        middles, middle = self.middles.to(poses.rotation), self.middle.to(poses.rotation)
        moved = (poses.rotation @ middles[..., None])[..., 0] + poses.translation
        return PartPoses(rotation[:, None], (torch.einsum("p,fpi->fi", shares, moved) - rotation @ middle)[:, None])


@torch.no_grad()
def part_places(network: VolumetricAnimation) -> PartPlaces:
    """Where the parts are, on average over some of the identities that were trained on."""
    extents = half_extents(network.config.render.enlarge, network.prior.device)
    with network.evaluating():
        numbers = torch.arange(min(network.identities, _AVERAGED), device=network.prior.device)
        found = [part_middles(network.cubes(number[None]), extents) for number in numbers]
    shares = torch.stack([share for _, share in found]).mean(0)
    middles = torch.stack([middle * share[:, None] for middle, share in found]).mean(0)
    middles = middles / shares[:, None].clamp_min(1e-9)
    total = shares.sum()
    if not bool(total > 0):  # Nothing is solid yet, as before any training.
        return PartPlaces(torch.zeros_like(middles).cpu(), torch.full_like(shares, 1 / len(shares)).cpu())
    shares = shares / total
    middles = torch.where(shares[:, None] > _LEAST, middles, shares @ middles)
    return PartPlaces(middles.cpu(), shares.cpu())
