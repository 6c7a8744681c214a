"""Gains and tints of training frames."""

import copy

import pytest
import torch

from nerfstudio_avatars.instant_avatar.frame_light import FrameLight

TRAINED = torch.tensor([0, 2, 3, 5])


def test_factors_are_relative_to_the_mean_of_the_trained_frames():
    light = FrameLight(6, TRAINED)
    assert torch.equal(light(torch.arange(6)), torch.ones(6, 3))
    with torch.no_grad():
        light.log_gain[:] = torch.arange(6.0)[:, None] * torch.tensor([1.0, 0.0, -1.0])
    torch.testing.assert_close(light(torch.tensor([5])), (torch.tensor([[2.5, 0.0, -2.5]])).exp())
    torch.testing.assert_close(light(TRAINED).log().mean(0), torch.zeros(3))
    assert light.strength(torch.tensor([3])).item() == pytest.approx(6.0)


def test_rays_are_in_the_light_of_their_own_frame():
    light = FrameLight(6, TRAINED)
    with torch.no_grad():
        light.log_gain[2] = torch.tensor([0.4, 0.2, 0.0])
    lit = light.lit(torch.ones(6, 3), torch.tensor([5, 2]))
    torch.testing.assert_close(lit[3:] / lit[:3], torch.tensor([[0.4, 0.2, 0.0]]).exp().expand(3, 3))


def test_the_light_of_frames_is_found_from_their_colours():
    """True colours and true gains are known; the avatar's colours are learnt beside the gains."""
    generator = torch.Generator().manual_seed(0)
    colours = torch.rand(50, 3, generator=generator) * 0.6 + 0.2
    true = 0.3 * torch.randn(4, 3, generator=generator)
    true -= true.mean(0)
    light, avatar = FrameLight(6, TRAINED), torch.full((50, 3), 0.5, requires_grad=True)
    adam = torch.optim.Adam([avatar, *light.parameters()], lr=0.02)
    for _ in range(400):
        adam.zero_grad()
        seen = torch.cat([colours * true[row].exp() for row in range(4)])
        (light.lit(avatar.repeat(4, 1), TRAINED) - seen).square().mean().backward()
        adam.step()
    torch.testing.assert_close(light(TRAINED).log(), true, atol=0.01, rtol=0)
    torch.testing.assert_close(avatar.detach(), colours, atol=0.01, rtol=0)


def test_avatars_from_before_have_no_light():
    light = FrameLight(6, TRAINED)
    with torch.no_grad():
        light.log_gain.fill_(1.0)
    state = copy.deepcopy(light.state_dict())
    light.load_state_dict({}, strict=True)
    assert not light.log_gain.any()
    light.load_state_dict(state)
    assert light.log_gain.min() == 1
