"""The occupancy regulariser against the paper's formula."""

from __future__ import annotations

import torch

from nerfstudio_avatars.instant_avatar.losses.occupancy_regulariser import occupancy_regulariser


def test_the_papers_two_stages():
    density = torch.randn(64) * 100
    empty = torch.rand(64) < 0.5
    p = 1 - torch.exp(-0.01 * density.clamp(min=0))
    late = 20 * p[empty].mean()
    torch.testing.assert_close(occupancy_regulariser(density, empty), late)
    torch.testing.assert_close(occupancy_regulariser(density, empty, everywhere=0.5), late + 0.5 * p.mean())


def test_only_empty_samples_are_pushed_down():
    density = torch.full((4,), 50.0, requires_grad=True)
    empty = torch.tensor([True, False, True, False])
    occupancy_regulariser(density, empty).backward()
    assert (density.grad[empty] > 0).all() and (density.grad[~empty] == 0).all()


def test_nothing_empty_is_no_loss_and_no_nan():
    density = torch.ones(8, requires_grad=True)
    loss = occupancy_regulariser(density, torch.zeros(8, dtype=torch.bool))
    loss.backward()
    assert loss == 0 and density.grad.isfinite().all()
    none = occupancy_regulariser(torch.zeros(0), torch.zeros(0, dtype=torch.bool), everywhere=0.5)
    assert none == 0
