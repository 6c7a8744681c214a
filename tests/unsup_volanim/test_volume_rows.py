"""Volumes in a file learn what volumes in memory learn."""

from __future__ import annotations

import copy

import torch

from nerfstudio_avatars.nerfstudio_glue.optimizers import ClippedAdam
from nerfstudio_avatars.unsup_volanim.volume_rows import VolumeRows

OPTIONS = {"lr": 0.05, "betas": (0.5, 0.999), "clip": 0.1}
SHAPE = (4, 3, 3, 3)


def learn(rows, optimizer, numbers, gradients):
    optimizer.zero_grad()
    drawn, places = rows.drawn(numbers)
    (drawn[places] * gradients).sum().backward()
    optimizer.step()


def test_drawing_every_volume_is_learning_them_all_in_memory():
    torch.manual_seed(0)
    rows, dense = VolumeRows(5, 4, 3), torch.nn.Parameter(torch.zeros(5, *SHAPE))
    optimizer, other = ClippedAdam([rows.handle], **OPTIONS), ClippedAdam([dense], **OPTIONS)
    for _ in range(6):
        everybody, gradients = torch.randperm(5), torch.randn(5, *SHAPE)
        learn(rows, optimizer, everybody, gradients)
        other.zero_grad()
        (dense[everybody] * gradients).sum().backward()
        other.step()
    with torch.no_grad():
        seen, places = rows.drawn(torch.tensor([3, 0, 3]))
    torch.testing.assert_close(seen[places], dense.detach()[[3, 0, 3]])


def test_memory_and_checkpoints_do_not_hold_volumes():
    rows = VolumeRows(20_000, 4, 64)
    optimizer = ClippedAdam([rows.handle], **OPTIONS)
    learn(rows, optimizer, torch.tensor([19_999]), torch.ones(1, 4, 64, 64, 64))
    assert not list(rows.parameters())
    kept = [rows.state_dict()["_extra_state"]["slots"], *optimizer.state_dict()["rows"][0].values()]
    assert sum(one.numel() * one.element_size() for one in kept) == 2 * 8 * 20_000
    assert sum(buffer.numel() * buffer.element_size() for buffer in rows.buffers()) == 8 * 20_000


def test_going_back_to_a_state_that_was_held_finds_its_volumes():
    torch.manual_seed(0)
    rows = VolumeRows(6, 4, 3)
    optimizer = ClippedAdam([rows.handle], **OPTIONS)
    batches = [(torch.randperm(6)[:3], torch.randn(3, *SHAPE)) for _ in range(9)]
    for numbers, gradients in batches[:5]:
        learn(rows, optimizer, numbers, gradients)
    rows.file.hold("good")
    good = copy.deepcopy((rows.state_dict(), optimizer.state_dict()))
    ends = []
    for _ in range(2):
        rows.load_state_dict(good[0])
        optimizer.load_state_dict(good[1])
        for numbers, gradients in batches[5:]:
            learn(rows, optimizer, numbers, gradients)
        with torch.no_grad():
            ends.append(rows.drawn(torch.arange(6))[0])
    assert torch.equal(*ends)
