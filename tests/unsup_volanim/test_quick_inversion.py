"""Somebody new, found in a few rounds."""

from dataclasses import replace

import pytest
import torch
from toy_heads import ToyHeads, small_network

from nerfstudio_avatars.unsup_volanim.inversion import IdentityInversionConfig
from nerfstudio_avatars.unsup_volanim.quick_inversion import _before_background, invert_in_rounds
from nerfstudio_avatars.unsup_volanim.voxel_render import standard_rays

ROUNDS = IdentityInversionConfig(rounds=20)


@pytest.fixture(scope="module")
def stranger():
    """A head that was not learned from."""
    return ToyHeads(range(30, 31), frames=8)


def found(network, pictures, masks=None, progress=None, compare=None, **options):
    torch.manual_seed(0)
    return invert_in_rounds(network, pictures, replace(ROUNDS, **options), compare, progress, masks)


def error(network, cube, images):
    """Of other pictures of theirs, in the poses that the detector finds."""
    seen = network.render(cube[None], network.estimate(images), standard_rays(images.shape[-1]))
    return float((seen.rgb.mT.unflatten(2, images.shape[-2:]) - images).abs().mean())


@pytest.mark.slow
@pytest.mark.parametrize("masked", [True, False])
def test_twenty_rounds_are_enough_for_a_stranger(oracle, stranger, masked):
    """Also in pictures that were not given; with masks they are nearer to the truth than in two short stages."""
    pictures, masks = stranger.images[[1, 4]], stranger.masks[[1, 4]]
    identity = found(oracle, pictures, masks if masked else None)
    assert identity.errors["tuned"] < 0.4 * identity.errors["start"]
    others = stranger.images[[0, 2, 3, 6]]
    with torch.no_grad(), oracle.evaluating():
        average = oracle.cubes(torch.arange(4)).mean(0)
        assert error(oracle, identity.cube, others) < 0.7 * error(oracle, average, others)
    assert identity.network == oracle.fingerprint() and identity.code.shape == (4,)
    torch.testing.assert_close(identity.pose.rotation @ identity.pose.rotation.mT, torch.eye(3)[None, None])


def test_rounds_are_told_and_nothing_else_changes(stranger):
    network, told = small_network(3, parts=2), []
    before = {name: value.clone() for name, value in network.state_dict().items()}
    pictures, seen = stranger.images[:6], []

    def compare(rendered, target):
        seen.append(rendered.shape)
        return (rendered - target).square().mean()

    identity = found(network, pictures, None, lambda *done: told.append(done), compare, rounds=3, size=16)
    assert told == [(1, 3), (2, 3), (3, 3)] and seen == [(4, 16, 16, 3)] * 3
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)
    assert all(one.requires_grad and one.grad is None for one in network.parameters()) and network.training
    assert identity.cube.shape == (5, 16, 16, 16) and not identity.cube.requires_grad
    assert identity.pose.rotation.shape == (1, 1, 3, 3) and [*identity.errors] == ["start", "tuned"]


def test_what_lies_behind_is_the_picture_around(stranger):
    network = small_network(3)
    corners = torch.tensor([[0.1, 0.9], [0.6, 0.3]]).expand(1, 3, 2, 2)
    background = torch.nn.functional.interpolate(corners, (32, 32), mode="bilinear")
    with torch.no_grad(), network.evaluating():
        cube = network.cubes(torch.tensor([0]))
        placed = _before_background(network, cube, background)
        nobody = torch.zeros(1)
        seen = network.render(placed, network.estimate(background), standard_rays(32), visible=nobody).rgb
    torch.testing.assert_close(seen.mT.unflatten(2, (32, 32)), background, atol=0.03, rtol=0)
    network.config.render.background = "none"
    assert _before_background(network, cube, background) is cube
