"""The offsets of a hash grid's levels in the flat table, as in tiny-cuda-nn."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

PRIMES = (1, 2654435761, 805459861)


@dataclass(frozen=True)
class HashGridLayout:
    """The layout of the levels in the flat table."""

    scales: tuple[float, ...]
    """Cells along the unit cube at each level (tiny-cuda-nn's `scale`)."""
    resolutions: tuple[int, ...]
    """Grid nodes along each axis."""
    offsets: tuple[int, ...]
    """First entry of each level in the table, and one past the last: `levels + 1` numbers."""

    @classmethod
    def build(cls, levels: int, base_resolution: int, per_level_scale: float, log2_table_size: int) -> HashGridLayout:
        """Lays out `levels` levels of two features each."""
        scales, resolutions, offsets = [], [], [0]
        for level in range(levels):
            scale = base_resolution * per_level_scale**level - 1.0
            resolution = ceil(scale) + 1
            size = min(-(-(resolution**3) // 8) * 8, 2**log2_table_size)
            scales.append(scale)
            resolutions.append(resolution)
            offsets.append(offsets[-1] + size)
        return cls(tuple(scales), tuple(resolutions), tuple(offsets))

    @property
    def levels(self) -> int:
        return len(self.scales)

    @property
    def entries(self) -> int:
        """Number of rows in the table."""
        return self.offsets[-1]

    def is_dense(self, level: int) -> bool:
        """Whether the level has a slot for each of its nodes, so that nothing is hashed."""
        return self.resolutions[level] ** 3 <= self.offsets[level + 1] - self.offsets[level]
