"""What is laid over the picture."""

import itertools
from types import SimpleNamespace

import numpy as np
import torch

from nerfstudio_avatars.studio.overlay_meshes import outer_sides


def block(size):
    """A volume all of whose cells are there, one metre each."""
    corners = torch.tensor([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)])
    index = torch.tensor(list(itertools.product(range(size), repeat=3)))
    nodes = index[:, None] + corners
    n = size + 1
    cells = (nodes[..., 0] * n + nodes[..., 1]) * n + nodes[..., 2]
    places = torch.tensor(list(itertools.product(range(n), repeat=3))).float()
    return SimpleNamespace(shape=(n, n, n), cell_index=index.int(), cells=cells.int()), places


def test_only_sides_with_nothing_behind_them_are_drawn_and_they_look_outward(unchecked_types):
    volume, places = block(3)
    occupied = torch.zeros(27, dtype=torch.bool)
    occupied[0] = True
    occupied[13] = True  # The middle one, which touches the other by a corner.
    assert len(outer_sides(volume, occupied)) == 12
    occupied[:] = True
    sides = outer_sides(volume, occupied)
    assert len(sides) == 6 * 9
    corners = places[sides]
    ahead = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    out = corners.mean(1) - 1.5
    np.testing.assert_allclose(ahead.norm(dim=1), 1)
    assert ((ahead * out).sum(1) > 1).all()
