"""The Triton kernels against the specification (where there is no GPU, in Triton's interpreter); compiled for GPUs."""

import pytest
import torch

from nerfstudio_avatars.instant_avatar.field.hash_grid import hash_encode, hash_encode_torch
from nerfstudio_avatars.instant_avatar.field.hash_grid_layout import HashGridLayout

LAYOUT = HashGridLayout.build(levels=6, base_resolution=4, per_level_scale=1.7, log2_table_size=9)


@pytest.mark.parametrize("points", [0, 1, 300])
def test_hash_encoding_and_gradients_equal_the_specification(triton_device, points):
    torch.manual_seed(0)
    x, table = torch.rand(points, 3), torch.rand(LAYOUT.entries, 2)
    weights = torch.randn(points, 12)
    weights[::3] = 0  # Samples behind an opaque surface have no gradient.
    results = []
    for encode, device in ((hash_encode, triton_device), (hash_encode_torch, "cpu")):
        moved = [given.to(device).requires_grad_() for given in (x.clone(), table.clone())]
        out = encode(*moved, LAYOUT)
        (out * weights.to(device)).sum().backward()
        results.append([found.detach().cpu() for found in (out, moved[0].grad, moved[1].grad)])
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow, atol=1e-4, rtol=1e-4)


def test_large_tables_are_hashed_alike(triton_device):
    """Products of nodes and primes leave 32 bits here."""
    layout = HashGridLayout.build(levels=2, base_resolution=1500, per_level_scale=1.5, log2_table_size=19)
    x, table = torch.rand(100, 3), torch.rand(layout.entries, 2)
    fast = hash_encode(x.to(triton_device), table.to(triton_device), layout)
    torch.testing.assert_close(fast.cpu(), hash_encode_torch(x, table, layout), atol=2e-3, rtol=0)


def test_corners_of_the_cube_and_what_is_no_number_stay_in_the_table(triton_device):
    table = torch.rand(LAYOUT.entries, 2)
    corners = torch.tensor([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)]).float()
    fast = hash_encode(corners.to(triton_device), table.to(triton_device), LAYOUT)
    torch.testing.assert_close(fast.cpu(), hash_encode_torch(corners, table, LAYOUT), atol=1e-5, rtol=1e-5)
    nowhere = torch.full((9, 3), torch.nan, device=triton_device)
    assert hash_encode(nowhere, table.to(triton_device), LAYOUT).shape == (9, 12)


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from nerfstudio_avatars.instant_avatar.articulation import _triton_unpose
from nerfstudio_avatars.instant_avatar.field import _triton_hash_grid as _triton

NUMBERS = {"n": "i32", "levels": "i32", "d0": "i32", "d1": "i32", "d2": "i32"}
NUMBERS |= dict.fromkeys(["bin_scale", "same", "residual", "tolerance"], "fp32")
INTEGERS = ["numbers", "cells", "sides", "cell_index", "offsets", "members", "out_count", "out_cell"]
SIZES = {"BLOCK": 128, "STEPS": 8, "MOST": 16}


def check(kernel, warps=4, **sizes):
    sizes = {name: (SIZES | sizes)[name] for name in kernel.arg_names if name in SIZES | sizes}
    pointers = {name: "*i32" if name in INTEGERS else "*fp32" for name in kernel.arg_names}
    source = ASTSource(kernel, pointers | {k: v for k, v in NUMBERS.items() if k in pointers}
                       | dict.fromkeys(sizes, "constexpr"), sizes)
    for capability in (75, 90):
        made = triton.compile(source, GPUTarget("cuda", capability, 32), {"num_warps": warps})
        assert "ld.local" not in made.asm["ptx"], (kernel, capability)
        assert len(made.asm["cubin"]) > 0


for kernel in (_triton._forward, _triton._backward_table, _triton._backward_position):
    check(kernel)
check(_triton_unpose._unpose, warps=1, BLOCK=32)
"""


@pytest.mark.slow
def test_kernels_compile_for_gpus_that_are_not_there(compile_kernels):
    compile_kernels(COMPILE)
