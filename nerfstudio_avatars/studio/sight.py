"""A camera of the page, and nerfstudio's cameras of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from nerfstudio.cameras.cameras import Cameras


@dataclass(frozen=True)
class Sight:
    """Where somebody looks from: metres, z up. Two of them are equal if they see the same."""

    camera_to_world: tuple[float, ...]
    """Twelve numbers, row by row: OpenGL axes, x right, y up, z backwards."""
    field_of_view: float
    """Vertical, radians."""
    aspect: float
    """Width over height."""

    def camera(self, height: int, width: int) -> Cameras:
        """A camera without distortion; sizes in pixels."""
        matrix = torch.tensor(self.camera_to_world).view(1, 3, 4)
        focal = height / 2 / math.tan(self.field_of_view / 2)
        return Cameras(matrix, focal, focal, width / 2, height / 2, width, height)

    def strips(self, height: int, width: int, pixels: int) -> Iterator[Cameras]:
        """Cameras that see one part of the picture after the other, from top to bottom.

        Args:
            height, width: of the whole picture, in pixels.
            pixels: of each part, at most.
        """
        matrix = torch.tensor(self.camera_to_world).view(1, 3, 4)
        focal = height / 2 / math.tan(self.field_of_view / 2)
        rows = max(pixels // width, 1)
        for top in range(0, height, rows):
            yield Cameras(matrix, focal, focal, width / 2, height / 2 - top, width, min(rows, height - top))
