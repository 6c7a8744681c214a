"""Hard-surface terms against the paper's formula."""

from __future__ import annotations

import torch

from nerfstudio_avatars.instant_avatar.losses.hard_surface import hard_accumulation, hard_surface, hard_weights


def test_h_is_zero_at_clear_and_opaque_and_highest_between():
    v = torch.linspace(0, 1, 101, dtype=torch.float64)
    h = hard_surface(v)
    assert h[0].abs() < 1e-6 and h[-1].abs() < 1e-6
    assert h.argmax() == 50
    assert abs(h[50].item() - 0.1201) < 1e-4


def test_h_is_the_papers_formula():
    v = torch.rand(1000, dtype=torch.float64)
    torch.testing.assert_close(
        hard_surface(v), -torch.log(torch.exp(-v) + torch.exp(v - 1)) + 0.313262, atol=1e-6, rtol=0
    )


def test_packed_weights_count_the_papers_empty_slots():
    """The paper averages over 256 slots a ray, most of them empty; packed, only the filled ones are given."""
    slots = torch.zeros(4, 256)
    filled = torch.rand(4, 10)
    slots[:, 20:30] = filled
    torch.testing.assert_close(hard_weights(filled.flatten(), num_rays=4), hard_accumulation(slots))


def test_gradient_pushes_apart():
    v = torch.tensor([0.3, 0.7], requires_grad=True)
    hard_surface(v).sum().backward()
    assert v.grad[0] > 0 > v.grad[1]


def test_no_samples_give_zero():
    assert hard_weights(torch.zeros(0), num_rays=8) == 0
