"""Rates that checkpoints can hold, and schedules that end where they should."""

import math

import pytest
import torch

from nerfstudio_avatars.nerfstudio_glue.optimizers import (
    ClippedAdamConfig,
    DecayScheduleConfig,
    FusedAdamConfig,
    PhasedScheduleConfig,
)


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


def test_clipped_adam_cuts_every_derivative_off_by_itself():
    ours, theirs = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    config = ClippedAdamConfig(lr=1e-2, clip=0.1)
    adams = config.setup(params=[ours]), torch.optim.Adam([theirs], lr=1e-2, betas=(0.5, 0.999), eps=1e-8)
    for _ in range(3):
        ours.grad, theirs.grad = torch.tensor([5.0, -0.3, 0.02]), torch.tensor([0.1, -0.1, 0.02])
        for adam in adams:
            adam.step()
    torch.testing.assert_close(ours, theirs)


def test_clipped_adam_forgets_the_means_of_what_has_changed_its_shape():
    """The table of identities has another length when clips were added."""
    kept, table, longer = (torch.nn.Parameter(torch.ones(size, 2)) for size in (3, 4, 6))
    before, after = (ClippedAdamConfig().setup(params=[kept, one]) for one in (table, longer))
    kept.grad, table.grad = torch.ones(3, 2), torch.ones(4, 2)
    before.step()
    after.load_state_dict(before.state_dict())
    assert set(after.state) == {kept}
    kept.grad, longer.grad = torch.ones(3, 2), torch.ones(6, 2)
    after.step()
    assert after.state[kept]["step"] == 2 and after.state[longer]["step"] == 1


def rates_of(steps, **options):
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    adam = ClippedAdamConfig(lr=1.0).setup(params=[parameter])
    schedule = PhasedScheduleConfig(**options).setup().get_scheduler(adam, 1.0)
    rates = []
    for _ in range(steps):
        rates.append(adam.param_groups[0]["lr"])
        adam.step()
        schedule.step()
    return rates


def test_a_phased_schedule_begins_anew_at_every_phase():
    options = {"boundaries": (0.0, 0.5), "rates": (1.0, 0.4), "plateau": 0.5, "final_share": 0.1, "warm_up": 4}
    rates = rates_of(100, max_steps=100, **options)
    assert all(type(rate) is float for rate in rates)
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[4:25] == pytest.approx([1.0] * 21)
    assert rates[49] == pytest.approx(0.1 ** (0.48 / 0.5))
    assert rates[50:54] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert rates[99] == pytest.approx(0.4 * 0.1 ** (0.48 / 0.5))


def test_a_phased_schedule_holds_its_last_rate_and_lacks_no_phase():
    rates = rates_of(30, max_steps=20, boundaries=(0.0, 0.2, 0.6), rates=(1.0, 0.5), warm_up=0)
    assert rates[16] == pytest.approx(0.5), "the last of the rates stands for further phases"
    assert rates[20:] == pytest.approx([0.05] * 10)
