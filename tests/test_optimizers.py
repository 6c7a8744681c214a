"""Rates that checkpoints can hold, and schedules that end where they should."""

import math

import pytest
import torch

from nerfstudio_avatars.optimizers import DecayScheduleConfig, FusedAdamConfig


@pytest.mark.parametrize("shape", ["cosine", "exponential"])
def test_schedules_run_from_full_to_their_share_in_plain_floats(shape):
    parameter = torch.nn.Parameter(torch.zeros(2))
    adam = FusedAdamConfig(lr=0.5).setup([parameter])
    config = DecayScheduleConfig(shape=shape, final_share=0.1, max_steps=10)
    schedule = config.setup().get_scheduler(adam, 0.5)
    rates = [adam.param_groups[0]["lr"]]
    for _ in range(12):
        adam.step()
        schedule.step()
        rates.append(adam.param_groups[0]["lr"])
    assert all(type(rate) is float for rate in rates)
    assert rates[0] == 0.5 and math.isclose(rates[10], 0.05) and math.isclose(rates[12], 0.05)
    assert all(later <= earlier + 1e-12 for earlier, later in zip(rates[:-1], rates[1:], strict=True))
    middle = {"cosine": 0.275, "exponential": 0.5 * 0.1**0.5}[shape]
    assert math.isclose(rates[5], middle, rel_tol=1e-6)


def test_fused_adam_is_adam():
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(50)) for _ in range(2))
    adams = FusedAdamConfig(lr=1e-2).setup([ours]), torch.optim.Adam([theirs], lr=1e-2, betas=(0.9, 0.99), eps=1e-15)
    for _ in range(5):
        gradient = torch.randn(50)
        for parameter, adam in zip((ours, theirs), adams, strict=True):
            parameter.grad = gradient.clone()
            adam.step()
    torch.testing.assert_close(ours, theirs)
