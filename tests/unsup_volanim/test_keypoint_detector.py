"""The keypoint network: the paper's size, one soft-argmax a map, parts that can be left out."""

from __future__ import annotations

import pytest
import torch

from nerfstudio_avatars.unsup_volanim.keypoint_detector import KeypointDetector, KeypointDetectorConfig
from nerfstudio_avatars.unsup_volanim.losses.image_pyramid import antialiased_resize, pixel_grid

TINY = {"input_size": 16, "widths": (8, 12), "head": 3}


def places(parts=2, edge=2):
    """Points on a grid inside the picture."""
    axis = torch.linspace(-0.5, 0.5, edge)
    return torch.cartesian_prod(axis, axis).expand(parts, -1, -1)


def detector(parts=2, edge=2, **changes):
    torch.manual_seed(0)
    return KeypointDetector(KeypointDetectorConfig(**TINY | changes), places(parts, edge))


def silenced(network):
    """Heat maps that the picture says nothing about."""
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.zero_()
    return network


@pytest.mark.parametrize(("parts", "expected"), [(1, 14.34), (10, 16.27)])
def test_full_size_has_the_papers_parameters(parts, expected):
    with torch.device("meta"):
        network = KeypointDetector(KeypointDetectorConfig(), torch.zeros(parts, 125, 2))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(expected, abs=0.01)
    assert network.head.in_channels == 35, "the last skip is the picture"


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_keypoints_of_every_part_lie_in_the_picture(norm):
    found = detector(parts=3, norm=norm)(torch.rand(2, 3, 16, 16))
    assert found.shape == (2, 3, 4, 2) and found.abs().max() < 1


def test_larger_pictures_are_made_smaller_first():
    network, pictures = detector().eval(), torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(network(pictures), network(antialiased_resize(pictures, 16)))


@pytest.mark.parametrize("positional_bias", [0.0, 0.2])
def test_some_parts_are_a_slice_of_all(positional_bias):
    network, pictures = detector(parts=5, positional_bias=positional_bias).eval(), torch.rand(2, 3, 16, 16)
    every = network(pictures)
    for parts in (1, 3, 5):
        torch.testing.assert_close(network(pictures, parts), every[:, :parts])


def test_without_any_evidence_keypoints_are_in_the_middle():
    found = silenced(detector())(torch.rand(2, 3, 16, 16))
    torch.testing.assert_close(found, torch.zeros_like(found), atol=1e-6, rtol=0)


def test_the_positional_bias_puts_keypoints_at_their_places():
    network = silenced(detector(edge=3, positional_bias=0.15))
    found = network(torch.rand(2, 3, 16, 16))
    torch.testing.assert_close(found, places(edge=3).expand(2, -1, -1, -1), atol=2e-3, rtol=0)


def test_the_positional_bias_keeps_the_lattices_outermost_points_nearly_at_theirs():
    """A peak of 0.15 at 0.67 reaches the picture's edge."""
    network = silenced(detector(positional_bias=0.15))
    network = KeypointDetector(network.config, torch.full((1, 1, 2), 0.6726))
    found = silenced(network)(torch.rand(1, 3, 16, 16))
    torch.testing.assert_close(found, torch.full((1, 1, 1, 2), 0.6726), atol=0.02, rtol=0)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_a_keypoint_is_its_maps_expectation(temperature):
    network, pictures = silenced(detector(temperature=temperature, positional_bias=0.2)), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        network.bias.copy_(torch.randn(8, 256))
    share = network.bias.softmax(-1)
    expected = (share[..., None] * pixel_grid(16).flatten(0, 1)).sum(1).reshape(1, 2, 4, 2)
    torch.testing.assert_close(network(pictures), expected)


def test_a_smaller_temperature_makes_sharper_peaks():
    pictures = torch.rand(4, 3, 16, 16)
    spread = [detector(temperature=t)(pictures).std() for t in (10.0, 1.0, 0.05)]
    assert spread[0] < spread[1] < spread[2]


@pytest.mark.parametrize("positional_bias", [0.0, 0.2])
def test_rows_of_parts_can_be_told(positional_bias):
    network = detector(parts=5, positional_bias=positional_bias)
    assert all(len(rows) == 5 * 4 for rows in network.per_part())
    assert len(network.per_part()) == (3 if positional_bias else 2)


def test_gradient_reaches_everything_but_unused_parts():
    network = detector(parts=3, positional_bias=0.2)
    network(torch.rand(2, 3, 16, 16), parts=2).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    for rows in network.per_part():
        assert (rows.grad[8:] == 0).all() and rows.grad[:8].abs().sum() > 0


@pytest.mark.slow
def test_it_learns_to_follow_a_dot():
    """A few steps bring a keypoint onto a bright dot, wherever it is."""
    network = detector(parts=1, edge=1, norm="group")
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    grid = pixel_grid(16)
    for _ in range(120):
        where = torch.rand(8, 2) - 0.5
        dots = torch.exp(-(grid - where[:, None, None]).square().sum(-1) / 0.02)[:, None].expand(-1, 3, -1, -1)
        loss = (network(dots)[:, 0, 0] - where).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1
