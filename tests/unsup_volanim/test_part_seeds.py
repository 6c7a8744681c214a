"""Where parts begin and where their middles are, for shapes that are known."""

import torch

from nerfstudio_avatars.unsup_volanim.part_seeds import part_middles, voronoi_logits, voxel_places

EXTENTS = torch.tensor([1.1, 1.1, 1.0])


def balls(*middles, n=24, radius=0.25):
    """Density of balls, half pictures."""
    places = voxel_places(n, torch.device("cpu")) * EXTENTS
    distance = torch.stack([(places - torch.tensor(middle)).norm(dim=-1) for middle in middles]).amin(0)
    return 20 * (radius - distance).clamp_min(0)


def test_separate_balls_get_cells_of_their_own():
    middles = torch.tensor([[-0.6, 0.0, 0.0], [0.6, 0.1, 0.0], [0.0, -0.7, 0.2]])
    density = balls(*middles.tolist())
    cells = voronoi_logits(density, EXTENTS, 3).argmax(0)
    owners = []
    for middle in middles.tolist():
        own = cells[balls(middle) > 0].unique()
        assert len(own) == 1, "a ball is not divided"
        owners.append(int(own))
    assert sorted(owners) == [0, 1, 2]


def test_cells_leave_something_to_their_neighbours():
    logits = voronoi_logits(balls([0.0, 0.0, 0.0], radius=0.8), EXTENTS, 6)
    assert logits.shape == (6, 24, 24, 24) and logits.min() >= -8 and logits.max() <= 0
    assert len(logits.argmax(0).unique()) == 6


def test_middles_and_shares_are_those_of_the_parts():
    left, right = [-0.5, 0.1, 0.2], [0.5, -0.2, 0.0]
    places = voxel_places(24, torch.device("cpu"))
    logits = torch.stack([-40 * places[..., 0], 40 * places[..., 0]])
    density = balls(left, radius=0.2) + balls(right, radius=0.4)
    cube = torch.cat([logits, torch.rand(3, 24, 24, 24), density[None]])[None]
    middles, shares = part_middles(cube, EXTENTS)
    torch.testing.assert_close(middles, torch.tensor([left, right]), atol=0.01, rtol=0)
    assert shares.sum().isclose(torch.tensor(1.0), atol=1e-4) and shares[1] > 3 * shares[0]
