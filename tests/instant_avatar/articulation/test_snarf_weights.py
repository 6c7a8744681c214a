"""The paper's weight volume against closed forms."""

from __future__ import annotations

import torch

from nerfstudio_avatars.instant_avatar.articulation.snarf_weights import (
    inverse_distance_weights,
    paper_weight_volume,
    smooth,
)


def mirrored_cloud() -> tuple[torch.Tensor, torch.Tensor]:
    """Points of a thin upright body and weights of three joints (left, middle, right), symmetric in x."""
    generator = torch.Generator().manual_seed(0)
    half = torch.rand(400, 3, generator=generator) * torch.tensor([0.5, 1.6, 0.2])
    vertices = torch.cat([half, half * torch.tensor([-1.0, 1.0, 1.0])])
    weights = torch.softmax(vertices[:, :1] * torch.tensor([-8.0, 0.0, 8.0]), dim=-1)
    return vertices, weights


def test_weights_sum_to_one_everywhere():
    volume = paper_weight_volume(*mirrored_cloud(), resolution=(6, 16, 16))
    torch.testing.assert_close(volume.weights.sum(0), torch.ones(6, 16, 16), atol=1e-5, rtol=0)
    assert (volume.weights >= 0).all()


def test_a_symmetric_body_has_symmetric_weights():
    volume = paper_weight_volume(*mirrored_cloud(), resolution=(6, 16, 16))
    torch.testing.assert_close(volume.weights.flip(-1).flip(0), volume.weights, atol=1e-4, rtol=0)


def test_a_node_on_a_vertex_has_its_weights():
    vertices, weights = mirrored_cloud()
    found = inverse_distance_weights(vertices, vertices, weights, neighbours=5)
    assert (found - weights).abs().max() < 0.05  # the other four count 0.1 mm / their distance


def test_the_box_is_the_papers():
    """1.2 times the largest extent, a quarter of it in depth, centred on the bounding box."""
    vertices, weights = mirrored_cloud()
    volume = paper_weight_volume(vertices, weights, resolution=(6, 16, 16), sweeps=0)
    low, high = vertices.amin(0), vertices.amax(0)
    nodes = volume.nodes()
    half = (high - low).max() / 2 * 1.2 * torch.tensor([1, 1, 0.25])
    torch.testing.assert_close(nodes[0, 0, 0], (low + high) / 2 - half)
    torch.testing.assert_close(nodes[-1, -1, -1], (low + high) / 2 + half)
    assert nodes[0, 0, 1, 0] > nodes[0, 0, 0, 0] and nodes[1, 0, 0, 2] > nodes[0, 0, 0, 2]


def test_one_sweep_adds_a_tenth_of_a_squared_spacing():
    """A point spreads: 0.3 of it goes to six neighbours, so the variance along an axis is 2 * 0.05."""
    weights = torch.zeros(2, 9, 9, 9)
    weights[1] = 1.0
    weights[:, 4, 4, 4] = torch.tensor([1.0, 0.0])
    spread = smooth(weights, sweeps=1)[0]
    offset = torch.arange(9) - 4.0
    assert abs((spread.sum((0, 1)) * offset**2).sum().item() - 0.1) < 1e-6
    assert abs(spread[4, 4, 4].item() - 0.7) < 1e-6


def test_the_border_is_not_smoothed():
    weights = torch.rand(3, 5, 6, 7)
    weights /= weights.sum(0)
    smoothed = smooth(weights, sweeps=4)
    torch.testing.assert_close(smoothed[:, 0], weights[:, 0])
    torch.testing.assert_close(smoothed[..., -1], weights[..., -1])
    assert not torch.allclose(smoothed[:, 2, 2, 2], weights[:, 2, 2, 2])
