"""Rows that a step does not draw are left alone; those that it draws learn as if there were no others."""

from __future__ import annotations

import copy

import pytest
import torch

from nerfstudio_avatars.nerfstudio_glue.optimizers import ClippedAdam, forget_means
from nerfstudio_avatars.unsup_volanim.voxel_field import IdentityEmbedding

RATE, CLIP, BETAS = 0.05, 0.1, (0.5, 0.999)


def pair(count, size):
    """A sparse and a dense embedding with the same rows."""
    torch.manual_seed(0)
    sparse = IdentityEmbedding(count, size, sparse=True)
    dense = IdentityEmbedding(count, size)
    with torch.no_grad():
        dense.table.copy_(sparse.rows.table)
    return sparse, dense


def adam(embedding):
    parameters = [embedding.table] if embedding.rows is None else [embedding.rows.handle]
    return ClippedAdam(parameters, lr=RATE, betas=BETAS, clip=CLIP)


def learn(embedding, optimizer, identities, target):
    """A step towards whitened codes that are not distributed as they are."""
    optimizer.zero_grad()
    loss = (embedding(identities) - target).square().sum()
    loss.backward()
    optimizer.step()
    return loss.item()


def test_drawing_every_row_is_learning_the_whole_table():
    sparse, dense = pair(12, 3)
    optimizers = adam(sparse), adam(dense)
    everybody, target = torch.randperm(12), torch.randn(12, 3)
    for _ in range(20):
        losses = [learn(one, each, everybody, target) for one, each in zip((sparse, dense), optimizers, strict=True)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    torch.testing.assert_close(sparse.rows.table, dense.table.detach(), atol=1e-4, rtol=1e-4)


def test_codes_and_gradients_of_drawn_rows_are_those_of_the_whole_table():
    sparse, dense = pair(30, 4)
    drawn = torch.tensor([[7, 2], [2, 29]])
    torch.testing.assert_close(sparse(drawn), dense(drawn))
    weights = torch.randn(2, 2, 4)
    (sparse(drawn) * weights).sum().backward()
    (dense(drawn) * weights).sum().backward()
    numbers, rows = sparse.rows._drawn[-1]
    assert numbers.tolist() == [2, 7, 29]
    torch.testing.assert_close(rows.grad, dense.table.grad[numbers], atol=1e-5, rtol=1e-4)


def test_a_row_learns_as_by_an_adam_of_its_own_and_others_stay():
    """Gradients are given; the truth is torch's Adam on that row alone, in the steps that draw it."""
    sparse, _ = pair(6, 3)
    rows, optimizer = sparse.rows, adam(sparse)
    alone = [torch.nn.Parameter(row.clone()) for row in rows.table]
    own = [torch.optim.Adam([row], lr=RATE, betas=BETAS) for row in alone]
    for step in range(12):
        numbers = torch.randperm(6)[:2].sort().values % 5  # The last one is never drawn.
        numbers = numbers.unique()
        gradients = torch.randn(len(numbers), 3) * 0.1
        optimizer.zero_grad()
        drawn, places = rows.drawn(numbers)
        (drawn[places] * gradients).sum().backward()
        optimizer.step()
        for number, gradient in zip(numbers.tolist(), gradients, strict=True):
            alone[number].grad = gradient.clamp(-CLIP, CLIP)
            own[number].step()
        torch.testing.assert_close(rows.table, torch.stack([row.detach() for row in alone]), msg=str(step))
    assert rows.steps[5] == 0 and (rows.means[5] == 0).all()
    before = rows.total.clone(), rows.products.clone()
    rows.add_up()
    torch.testing.assert_close(before, (rows.total, rows.products))


def test_gradients_of_several_batches_are_one_step():
    """Accumulated over batches that share a row; the truth is the dense table."""
    sparse, dense = pair(8, 3)
    optimizers = adam(sparse), adam(dense)
    target = torch.randn(8, 3)
    for embedding, optimizer in zip((sparse, dense), optimizers, strict=True):
        optimizer.zero_grad()
        for batch in (torch.tensor([0, 1, 2, 3, 4]), torch.tensor([4, 5, 6, 7, 0])):
            (embedding(batch) * target[batch]).sum().backward()
        optimizer.step()
    # Through mean and covariance each batch also reaches the rows of the other, which the sparse table leaves out.
    assert (sparse.rows.steps == 1).all()
    expected = torch.sign(dense.table.detach() - pair(8, 3)[1].table.detach())
    moved = sparse.rows.table - pair(8, 3)[1].table.detach()
    assert (torch.sign(moved) == expected).float().mean() > 0.7


def test_a_checkpoint_goes_on_as_if_nothing_had_happened():
    sparse, _ = pair(10, 3)
    optimizer, target = adam(sparse), torch.randn(10, 3)
    drawn = [torch.randperm(10)[:4] for _ in range(8)]
    for identities in drawn[:4]:
        learn(sparse, optimizer, identities, target[identities])
    saved = copy.deepcopy((sparse.state_dict(), optimizer.state_dict()))
    assert list(saved[0]) == ["rows.table"], "what only a training needs is in the optimizer's state"
    resumed, _ = pair(10, 3)
    again = adam(resumed)
    resumed.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    for identities in drawn[4:]:
        learn(sparse, optimizer, identities, target[identities])
        learn(resumed, again, identities, target[identities])
    torch.testing.assert_close(resumed.rows.table, sparse.rows.table)
    fewer, _ = pair(9, 3)
    other = adam(fewer)
    other.load_state_dict(saved[1])
    assert (fewer.rows.steps == 0).all(), "clips were removed: their running means start anew"


def test_adam_may_begin_anew():
    sparse, _ = pair(4, 2)
    optimizer, target = adam(sparse), torch.randn(4, 2)
    everybody = torch.arange(4)
    for _ in range(5):
        learn(sparse, optimizer, everybody, target)
    forget_means(optimizer)
    before = sparse.rows.table.clone()
    learn(sparse, optimizer, everybody, target)
    moved = (sparse.rows.table - before).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, RATE), atol=1e-3, rtol=0)


def test_rows_are_only_remembered_where_they_are_learnt():
    sparse, _ = pair(4, 2)
    with torch.no_grad():
        sparse(torch.tensor([1, 1, 0]))
    sparse.eval()
    sparse(torch.tensor([2]))
    assert not sparse.rows._drawn
