"""Triton twin of `HashField.infer`, for CUDA: hash encoding and both networks in one pass, activations in registers.

Tested in Triton's interpreter and compiled for several GPUs, but not yet run or timed on one.
"""

# Compiled kernels are typed by Triton.
# mypy: ignore-errors

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

from nerfstudio_avatars.instant_avatar.field._triton_hash_grid import _cell, _level, _levels, _row

if TYPE_CHECKING:
    from nerfstudio_avatars.instant_avatar.field.hash_field import HashField

_BLOCK = 64
"""Number of points per program."""
_WARPS = 8
"""With half as many, values spill from the registers of sm_75; with 128 points per program, from those of sm_86."""


@triton.jit
def _weights(w, fan_in, fan_out, skipped, IN: tl.constexpr, OUT: tl.constexpr):
    """Weights of a layer with inputs along the first axis, padded with zeros, also before the first input."""
    i, o = tl.arange(0, IN)[:, None] - skipped, tl.arange(0, OUT)[None, :]
    return tl.load(w + fan_in * o + i, mask=(i >= 0) & (i < fan_in) & (o < fan_out), other=0.0)


@triton.jit
def _relu(x):
    # A maximum with zero would turn NaN into a number.
    return tl.where(x < 0, 0.0, x)


@triton.jit(do_not_specialize=["n"])
def _infer(
    x, table, scales, numbers, density1, density2, colour1, colour2, colour3, out_raw, out_colour,
    n, levels, width, geometry,
    WIDTH: tl.constexpr, GEOMETRY: tl.constexpr, COLOUR: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    neuron = tl.arange(0, WIDTH)
    hidden = tl.zeros((BLOCK, WIDTH), tl.float32)
    # The first layer takes in a level as soon as it is known: all features never stand side by side.
    for level in range(levels):
        scale, first, size, last, y, z, dense = _level(scales, numbers, level)
        ix, iy, iz, fx, fy, fz = _cell(x, n, i, scale, last)
        even = tl.zeros((BLOCK,), tl.float32)
        odd = tl.zeros((BLOCK,), tl.float32)
        for corner in tl.static_range(8):
            row = _row(ix + (corner & 1), iy + (corner >> 1 & 1), iz + (corner >> 2), size, y, z, dense)
            weight = fx if corner & 1 else 1 - fx
            weight *= fy if corner & 2 else 1 - fy
            weight *= fz if corner & 4 else 1 - fz
            entry = table + 2 * (first + row)
            even += weight * tl.load(entry, mask=i < n, other=0.0)
            odd += weight * tl.load(entry + 1, mask=i < n, other=0.0)
        of_level = density1 + 2 * (levels * neuron + level)
        hidden += even[:, None] * tl.load(of_level, mask=neuron < width, other=0.0)[None, :]
        hidden += odd[:, None] * tl.load(of_level + 1, mask=neuron < width, other=0.0)[None, :]
    output = tl.arange(0, GEOMETRY)[None, :]
    layer = _weights(density2, width, 1 + geometry, 0, WIDTH, GEOMETRY)
    features = tl.dot(_relu(hidden), layer, input_precision="ieee")
    tl.store(out_raw + i, tl.sum(tl.where(output == 0, features, 0.0), 1), mask=i < n)
    if COLOUR:
        # The density is no input of the colour network.
        features = tl.where(output == 0, 0.0, features)
        layer = _weights(colour1, geometry, width, 1, GEOMETRY, WIDTH)
        hidden = _relu(tl.dot(features, layer, input_precision="ieee"))
        layer = _weights(colour2, width, width, 0, WIDTH, WIDTH)
        hidden = _relu(tl.dot(hidden, layer, input_precision="ieee"))
        # No product is narrower than 16.
        channel = tl.arange(0, 16)[None, :]
        layer = _weights(colour3, width, 3, 0, WIDTH, 16)
        colour = tl.sigmoid(tl.dot(hidden, layer, input_precision="ieee"))
        tl.store(out_colour + 3 * i[:, None] + channel, colour, mask=(i < n)[:, None] & (channel < 3))


def infer(field: HashField, unit: Tensor) -> tuple[Tensor, Tensor]:
    """Raw density and colour of points in the unit cube of the field."""
    raw, colour = unit.new_empty(len(unit)), unit.new_empty(len(unit), 3)
    _launch(field, unit, raw, colour)
    return raw, colour


def infer_density(field: HashField, unit: Tensor) -> Tensor:
    """Raw density alone."""
    raw = unit.new_empty(len(unit))
    _launch(field, unit, raw, None)
    return raw


def _launch(field: HashField, unit: Tensor, raw: Tensor, colour: Tensor | None) -> None:
    config, n = field.config, len(unit)
    if n == 0:
        return
    density1, density2 = (layer.weight for layer in field.density_network[::2])
    networks = [density1 * field.level_weights, density2, *(layer.weight for layer in field.colour_network[::2])]
    with torch.cuda.device_of(unit):
        _infer[(triton.cdiv(n, _BLOCK),)](
            unit.contiguous(), field.table, *_levels(field.layout, unit.device), *networks, raw,
            raw if colour is None else colour, n, config.levels, config.width, config.geometry_features,
            WIDTH=_padded(config.width), GEOMETRY=_padded(1 + config.geometry_features),
            COLOUR=colour is not None, BLOCK=_BLOCK, num_warps=_WARPS,
        )  # fmt: skip


def _padded(width: int) -> int:
    """Pads a size to a power of two of at least 16, as products need."""
    return max(16, triton.next_power_of_2(width))
