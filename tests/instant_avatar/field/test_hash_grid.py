"""The hash encoding against closed forms, finite differences and its own numba twin."""

import pytest
import torch

from nerfstudio_avatars.instant_avatar.field.hash_grid import hash_encode, hash_encode_torch
from nerfstudio_avatars.instant_avatar.field.hash_grid_layout import PRIMES, HashGridLayout

LAYOUT = HashGridLayout.build(levels=6, base_resolution=4, per_level_scale=1.7, log2_table_size=9)


def test_layout_follows_tiny_cuda_nn():
    """Its rules, worked out by hand: res = ceil(scale) + 1, level size = min(res^3 rounded up to 8, table size)."""
    assert LAYOUT.resolutions[:3] == (4, 7, 12)
    assert LAYOUT.offsets[:4] == (0, 64, 64 + 344, 64 + 344 + 512)
    assert LAYOUT.is_dense(1) and not LAYOUT.is_dense(2)


def test_a_dense_level_interpolates_a_linear_function_exactly():
    layout = HashGridLayout.build(levels=1, base_resolution=8, per_level_scale=1.0, log2_table_size=12)
    nodes = torch.stack(torch.meshgrid(*[torch.arange(8.0)] * 3, indexing="ij"), -1).reshape(-1, 3)
    row = (nodes[:, 0] + 8 * (nodes[:, 1] + 8 * nodes[:, 2])).long()
    table = torch.zeros(layout.entries, 2, dtype=torch.float64)
    table[row, 0] = (nodes @ torch.tensor([1.0, 2.0, 3.0])).double()
    x = torch.rand(50, 3, dtype=torch.float64) * 0.9
    expected = (x * 7 + 0.5) @ torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(hash_encode(x, table, layout)[:, 0], expected)


def test_hashed_rows_are_the_papers_hash():
    """One corner's weight is 1 where the position falls on a node: the feature is that node's table row."""
    level = 4
    node = torch.tensor([5, 3, 9])
    table = torch.arange(LAYOUT.entries * 2.0, dtype=torch.float64).reshape(-1, 2)
    x = ((node - 0.5) / LAYOUT.scales[level]).double()[None]
    hashed = 0
    for value, prime in zip(node.tolist(), PRIMES, strict=True):
        hashed ^= (value * prime) % 2**32
    row = LAYOUT.offsets[level] + hashed % 512
    torch.testing.assert_close(hash_encode_torch(x, table, LAYOUT)[0, 2 * level : 2 * level + 2], table[row])


@pytest.mark.slow
def test_gradients_match_finite_differences():
    table = torch.rand(LAYOUT.entries, 2, dtype=torch.float64, requires_grad=True)
    x = torch.rand(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: hash_encode_torch(a, b, LAYOUT), (x, table), nondet_tol=0)


@pytest.mark.parametrize("points", [0, 1, 777])
def test_numba_twin_equals_the_specification(points):
    pytest.importorskip("numba")
    generator = torch.Generator().manual_seed(1)
    results = []
    for encode in (hash_encode, hash_encode_torch):
        table = torch.rand(LAYOUT.entries, 2, generator=generator.manual_seed(2)).requires_grad_()
        x = torch.rand(points, 3, generator=generator.manual_seed(3)).requires_grad_()
        out = encode(x, table, LAYOUT)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        results.append((out.detach(), x.grad, table.grad))
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow, atol=2e-4, rtol=1e-4)


def test_corners_of_the_cube_and_what_is_no_number_stay_in_the_table():
    table = torch.rand(LAYOUT.entries, 2)
    corners = torch.tensor([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)]).float()
    torch.testing.assert_close(hash_encode(corners, table, LAYOUT), hash_encode_torch(corners, table, LAYOUT))
    assert hash_encode(torch.full((100, 3), torch.nan), table, LAYOUT).shape == (100, 12)


def test_the_backend_can_be_switched_off(monkeypatch):
    from nerfstudio_avatars.backend import use_numba, use_triton

    assert not use_triton(torch.zeros(1))
    monkeypatch.setenv("NERFSTUDIO_AVATARS_BACKEND", "torch")
    assert not use_numba(torch.zeros(1)) and not use_triton(torch.zeros(1))
