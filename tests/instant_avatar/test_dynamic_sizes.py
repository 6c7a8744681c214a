"""Programs side by side: each gets its own numbers, and all of a round are one read."""

import pytest
import torch

from nerfstudio_avatars.instant_avatar.dynamic_sizes import Budget, Sizes, owners, run, run_together, send


def countdown(start):
    """Asks for its own state until it is zero."""
    seen = []
    while start:
        seen.append((yield Sizes("state", torch.tensor([start, 10 * start]))))
        start -= 1
    return seen


def test_programs_of_different_lengths_get_their_own_numbers():
    found = run_together([countdown(2), countdown(0), countdown(3)])
    assert found == [[[2, 20], [1, 10]], [], [[3, 30], [2, 20], [1, 10]]]
    assert run_together([]) == []


def test_a_round_is_one_read(monkeypatch):
    reads, tolist = [], torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda x: reads.append(len(x)) or tolist(x))
    run_together([countdown(2), countdown(0), countdown(3)])
    assert reads == [4, 4, 2]


def test_what_a_program_raises_is_raised():
    def failing():
        yield Sizes("one", torch.tensor([1]))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run(failing())


def test_a_budget_reads_until_it_settles_and_then_answers_with_a_quarter_more(monkeypatch):
    budget, reads, tolist = Budget(), [], torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda x: reads.append(len(x)) or tolist(x))
    assert run_together([countdown(2), countdown(1)], budget) == [[[2, 20], [1, 10]], [[1, 10]]]
    assert reads == [4, 2] and budget.fits is None
    budget.settle()
    assert reads == [4, 2, 2]
    assert run_together([countdown(1)], budget) == [[[3, 26]]]
    assert len(reads) == 3 and budget.fits
    run_together([countdown(2), countdown(3)], budget)
    assert len(reads) == 3 and not budget.fits  # Three are not less than three: the last row is for padding.
    run_together([countdown(1)], budget)
    assert not budget.fits  # Once too many stays too many until somebody asks.
    budget.settle()
    assert len(reads) == 4 and reads[-1] == 3
    budget.fits = None
    assert run_together([countdown(1)], budget) == [[[1, 10]]]  # What did not fit may have hidden more: it is read.
    assert len(reads) == 5 and budget.fits is None
    run_together([countdown(3)], budget)
    budget.settle()
    assert run_together([countdown(3)], budget) == [[[4, 38]] * 3] and budget.fits


def test_a_budget_keeps_what_was_not_asked_for_lately():
    budget = Budget()
    run_together([countdown(2)], budget)
    budget.settle()
    budget.settle()
    assert run_together([countdown(1)], budget) == [[[3, 26]]]


@pytest.mark.parametrize("length", [0, 1, 100])
def test_owners_of_a_mask_are_its_rows(length):
    mask = torch.rand(length) < 0.3
    rows = mask.nonzero()[:, 0]
    assert torch.equal(owners(mask, len(rows)), rows)
    assert torch.equal(owners(mask, len(rows) + 5), torch.cat([rows, torch.full((5,), length)]))
    assert torch.equal(owners(mask, len(rows) // 2), rows[: len(rows) // 2])


def test_owners_of_counts_are_repeated():
    counts = torch.tensor([0, 3, 0, 0, 2, 1, 0])
    assert torch.equal(owners(counts, 6), torch.arange(7).repeat_interleave(counts))
    assert owners(counts, 8).tolist() == [1, 1, 1, 4, 4, 5, 7, 7]


def test_numbers_are_sent():
    assert torch.equal(send([3, 1], torch.device("cpu")), torch.tensor([3, 1]))


def test_sizes_stay_while_they_are_neither_scarce_nor_wasteful():
    def asking(number):
        yield Sizes("n", torch.tensor([number]))

    budget, sizes = Budget(), []
    for needed in (100, 110, 78, 60, 75, 40):
        run_together([asking(needed)], budget)
        budget.settle()
        sizes.append(budget.sizes)
    assert [one["n"] for one in sizes] == [[126], [126], [126], [76], [94], [51]]
    assert sizes[0] is sizes[1] is sizes[2]
