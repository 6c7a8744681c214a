"""Programs side by side: each gets its own numbers, and all of a round are one read."""

import pytest
import torch

from nerfstudio_avatars.ops.host_reads import rows_where, run, run_together


def countdown(start):
    """Asks for its own state until it is zero."""
    seen = []
    while start:
        seen.append((yield torch.tensor([start, 10 * start])))
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
        yield torch.tensor([1])
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run(failing())


@pytest.mark.parametrize("length", [0, 1, 100])
def test_rows_where_is_nonzero(length):
    mask = torch.rand(length) < 0.3
    assert torch.equal(rows_where(mask, int(mask.sum())), mask.nonzero()[:, 0])
