"""Gradients of several batches make one step, which is that of one large batch."""

from __future__ import annotations

import math

import pytest
import torch
from recorded_training import losses_of

from nerfstudio_avatars.nerfstudio_glue.optimizers import ClippedAdam
from nerfstudio_avatars.nerfstudio_glue.unsound_steps import WatchingScaler

RATE, CLIP = 0.05, 0.1


def trained(batches, count):
    """Weights after the batches, `count` of them to a step, as nerfstudio's trainer does it."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 1)
    adam, scaler = ClippedAdam(layer.parameters(), lr=RATE, clip=CLIP), WatchingScaler(enabled=False)
    scaler.batches = count
    for step, batch in enumerate(batches):
        if step % count == 0:
            scaler.begin()
            adam.zero_grad()
        loss = layer(batch).square().mean()
        scaler.scale(loss).backward()
        if step % count == count - 1:
            scaler.step(adam)
        scaler.update()
    return layer.weight.detach()


def test_three_batches_to_a_step_are_one_of_three_times_the_size():
    """Of such derivatives that clipping their sum, rather than their mean, would be seen."""
    data = 0.2 * torch.randn(4, 3, 6, 3, generator=torch.Generator().manual_seed(1))
    small, large = trained(data.flatten(0, 1), 3), trained(data.flatten(1, 2), 1)
    torch.testing.assert_close(small, large)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_step_is_left_out_if_any_of_its_batches_is_unsound(place):
    data = torch.randn(9, 6, 3, generator=torch.Generator().manual_seed(2))
    spoilt = data.clone()
    spoilt[3 + place] = math.nan
    left = trained(torch.cat([data[:3], data[6:]]), 3)
    torch.testing.assert_close(trained(spoilt, 3), left)


def test_the_trainer_accumulates_what_it_is_asked_to(head_clips, small_volanim, tmp_path):
    config = small_volanim(head_clips, tmp_path, steps=4)
    config.pipeline.model.network.identity_rows = "sparse"
    config.pipeline.model.schedule.articulate_from = config.pipeline.model.schedule.search_until = 1.0
    config.gradient_accumulation_steps = {"network": 2}
    _, trainer = losses_of(config)
    adam = trainer.optimizers.optimizers["network"]
    assert trainer.grad_scaler.batches == 2
    assert {float(state["step"]) for state in adam.state.values()} <= {1.0, 2.0}
    steps = trainer.pipeline.model.network.embedding.rows.steps
    assert steps.tolist() == [2, 2, 2, 2], "two batches of two identities of four make a step"
