"""The occupancy of canonical space: one grid for all poses, which is posed by moving its cells."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import SkinningVolume

OPACITY_LENGTH = 0.01
"""Length in metres over which opacity decides occupancy (as in InstantAvatar's code)."""


class CanonicalOccupancy(nn.Module):
    """Cached density of the canonical half-size cells of a skinning volume.

    InstantAvatar keeps one grid in the posed root frame, which is the union over all frames. This one is canonical:
    empty cells are empty in every pose, and posed occupancy follows from moving the cells, without querying the field.

    Args:
        volume: defines the cells; there are none farther from the template than its band.
        threshold: opacity over a centimetre above which a cell is occupied.
        decay: share of the cached density that an update keeps.
    """

    density: Tensor
    occupied: Tensor
    band: Tensor
    band_cells: Tensor
    origin: Tensor

    def __init__(self, volume: SkinningVolume, threshold: float = 0.01, decay: float = 0.9) -> None:
        super().__init__()
        self.threshold, self.decay = threshold, decay
        centre = nn.functional.avg_pool3d(volume.distance[None, None], 2, stride=1)[0, 0]
        band = centre < volume.band
        self.register_buffer("band", band, persistent=False)
        self.register_buffer("band_cells", band.nonzero(), persistent=False)
        self.register_buffer("origin", volume.origin.clone(), persistent=False)
        self.cell_size = volume.spacing / 2
        self.register_buffer("density", torch.zeros(band.shape))
        self.register_buffer("occupied", band.clone())

    def start(self, density_of: Callable[[Tensor], Tensor]) -> None:
        """Marks everything in the band as occupied, with a given cached density."""
        self.density[self.band] = density_of(self._points(self.band_cells, jitter=False))
        self.occupied.copy_(self.band)

    def update(self, density_of: Callable[[Tensor], Tensor], fraction: float = 1.0) -> None:
        """Updates a random share of the band to the maximum of the decayed cache and a new, jittered query."""
        cells = self.band_cells
        if fraction < 1:
            cells = cells[torch.randint(len(cells), (int(len(cells) * fraction),), device=cells.device)]
        i, j, k = cells.unbind(-1)
        new = torch.cat([density_of(points) for points in self._points(cells).split(1 << 17)])
        self.density[i, j, k] = torch.maximum(self.density[i, j, k] * self.decay, new)
        self._refresh()

    def recompute(self, density_of: Callable[[Tensor], Tensor]) -> None:
        """Recomputes the cache from the present field, as the largest of three queries per cell."""
        self.density.zero_()
        for _ in range(3):
            values = [density_of(points) for points in self._points(self.band_cells).split(1 << 17)]
            i, j, k = self.band_cells.unbind(-1)
            self.density[i, j, k] = torch.maximum(self.density[i, j, k], torch.cat(values))
        self._refresh()

    def _refresh(self) -> None:
        opaque = -torch.expm1(-OPACITY_LENGTH * self.density) > self.threshold
        # An empty avatar would never be seen again: start over.
        self.occupied.copy_(torch.where(opaque.any(), _grown(opaque), True) & self.band)

    def cached(self) -> Float[Tensor, "x y z"]:
        """Cached density, or -1 in cells that are not occupied."""
        return torch.where(self.occupied, self.density, -1.0)

    def occupied_cells(self, volume: SkinningVolume) -> Bool[Tensor, " cells"]:
        """Which cells of the volume contain an occupied half-size cell."""
        n = [size // 2 for size in self.occupied.shape]
        children = self.occupied[: 2 * n[0], : 2 * n[1], : 2 * n[2]].view(n[0], 2, n[1], 2, n[2], 2)
        any_child = children.any(5).any(3).any(1)
        i, j, k = volume.cell_index.long().unbind(-1)
        return any_child[i, j, k]

    def points_in_band(self, count: int) -> tuple[Float[Tensor, "count 3"], Bool[Tensor, " count"]]:
        """Random points, and which of them are in cells that are not occupied."""
        cells = self.band_cells[torch.randint(len(self.band_cells), (count,), device=self.band_cells.device)]
        i, j, k = cells.unbind(-1)
        return self._points(cells), ~self.occupied[i, j, k]

    def _points(self, cells: Tensor, jitter: bool = True) -> Tensor:
        offset = torch.rand(cells.shape, device=cells.device) if jitter else 0.5
        return self.origin + self.cell_size * (cells + offset)


def _grown(cells: Bool[Tensor, "x y z"]) -> Bool[Tensor, "x y z"]:
    """Dilates cells to their 26 neighbours, axis by axis (a tenth of the time of 3x3x3 pooling)."""
    for axis in range(3):
        length = cells.shape[axis] - 1
        spread = cells.clone()
        spread.narrow(axis, 1, length).logical_or_(cells.narrow(axis, 0, length))
        spread.narrow(axis, 0, length).logical_or_(cells.narrow(axis, 1, length))
        cells = spread
    return cells
