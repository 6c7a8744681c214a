"""How near are the hash encoding and the networks to what this machine can do?

Prints one JSON object: what the machine reaches when it does nothing else (a triad over memory, random look-ups in a
table, a large matrix product), and what share of it the field's two parts reach on points along short rays.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from stand_in import note, peak_memory_mb, seconds_in_turn  # first: it settles how torch's threads wait

# isort: split
import numba
import numpy as np
import torch
import tyro
from encoding import TABLES, points_on_rays
from numba import njit, prange

from nerfstudio_avatars.instant_avatar.field.hash_field import HashField, _cpu_has_bfloat16
from nerfstudio_avatars.instant_avatar.field.hash_grid import hash_encode
from nerfstudio_avatars.instant_avatar.field.hash_grid_layout import HashGridLayout
from nerfstudio_avatars.methods import instant_avatar_cpu

PAIR_BYTES = 8
"""A table's row: two float32."""
CORNERS = 8


@dataclass
class Options:
    """Sizes of the benchmark."""

    points: int = 1 << 17
    """Points of a call."""
    triad_mb: int = 64
    """Size of each of the triad's three arrays: several times the cache, or the cache is what is measured."""
    matrix: int = 1024
    """Side of the matrices."""
    repetitions: int = 7
    """Timed calls, of which the median counts."""


@njit(parallel=True, fastmath=True)
def triad(a, b, c, factor):
    """a = b + factor * c, as the STREAM benchmark has it."""
    for i in prange(len(a)):
        a[i] = b[i] + factor * c[i]


@njit(parallel=True, fastmath=True)
def look_up(table, rows, out):
    """Sums of 16 random rows each: an encoding's memory traffic without its arithmetic."""
    for i in prange(len(out)):
        first, second = np.float32(0), np.float32(0)
        for k in range(16):
            row = rows[i, k]
            first += table[row, 0]
            second += table[row, 1]
        out[i, 0], out[i, 1] = first, second


def precisions() -> dict[str, torch.dtype]:
    """Those that the processor has units for."""
    found = {"float32": torch.float32}
    return found | {"bfloat16": torch.bfloat16} if _cpu_has_bfloat16() else found


def machine(options: Options) -> dict[str, float]:
    """GB/s of the triad, GFLOP/s of matrix products."""
    a, b, c = (np.ones(options.triad_mb << 18, np.float32) for _ in range(3))
    work: dict[str, Callable[[], object]] = {"triad": lambda: triad(a, b, c, np.float32(3))}
    for name, precision in precisions().items():
        matrix = torch.randn(options.matrix, options.matrix).to(precision)
        work[name] = lambda matrix=matrix: matrix @ matrix
    seconds = seconds_in_turn(work, options.repetitions)
    rates = {"triad_gb_per_s": round(3 * a.nbytes / seconds["triad"] / 1e9, 1)}
    for name in precisions():
        rates[f"matrix_{name}_gflop_per_s"] = round(2 * options.matrix**3 / seconds[name] / 1e9, 1)
    return rates


def encoding(levels: int, log2_size: int, growth: float, options: Options) -> dict[str, float]:
    """The forward pass beside look-ups of as many rows, at random, in a table of the same size."""
    layout = HashGridLayout.build(levels, 16, growth, log2_size)
    table, x = torch.rand(layout.entries, 2), points_on_rays(options.points)
    look_ups = options.points * levels * CORNERS
    rows = np.random.default_rng(0).integers(0, layout.entries, (look_ups // 16, 16), dtype=np.int32)
    out = np.empty((len(rows), 2), np.float32)
    numbers = table.numpy()
    seconds = seconds_in_turn(
        {"encode": lambda: hash_encode(x, table, layout), "look_up": lambda: look_up(numbers, rows, out)},
        options.repetitions,
    )
    gigabytes = look_ups * PAIR_BYTES / 1e9
    return {
        "table_mb": round(table.numel() * 4 / 2**20, 1),
        "bytes_a_point": levels * CORNERS * PAIR_BYTES,
        "encode_gb_per_s": round(gigabytes / seconds["encode"], 2),
        "random_look_up_gb_per_s": round(gigabytes / seconds["look_up"], 2),
        "share_of_look_up": round(seconds["look_up"] / seconds["encode"], 3),
    }


@torch.no_grad()
def networks(options: Options, rates: dict[str, float]) -> dict[str, float]:
    """The forward pass of the density and the colour network, without the encoding."""
    config = instant_avatar_cpu.config.pipeline.model.avatar.field
    features = torch.randn(options.points, 2 * config.levels)
    fields = {
        name: HashField(replace(config, mixed_precision=name == "bfloat16"), torch.zeros(3), 1.0)
        for name in precisions()
    }

    def forward(field: HashField) -> None:
        hidden = field._run(field.density_network, features, field.level_weights)
        field._run(field.colour_network, hidden[:, 1:])

    layers = [*fields["float32"].density_network[::2], *fields["float32"].colour_network[::2]]
    operations = sum(2 * layer.weight.numel() for layer in layers)
    found: dict[str, float] = {"flop_a_point": operations}
    work = {name: lambda field=field: forward(field) for name, field in fields.items()}
    for name, seconds in seconds_in_turn(work, options.repetitions).items():
        rate = operations * options.points / seconds / 1e9
        found[f"{name}_gflop_per_s"] = round(rate, 1)
        found[f"{name}_share_of_matrix"] = round(rate / rates[f"matrix_{name}_gflop_per_s"], 3)
    return found


def main(options: Options) -> None:
    """Measures the machine and the field, and prints the figures."""
    rates = machine(options)
    note(f"machine: {rates}")
    tables = {}
    for name, (levels, log2_size, growth) in TABLES.items():
        tables[name] = encoding(levels, log2_size, growth, options)
        note(f"{name}: {tables[name]}")
    print(
        json.dumps(
            {
                **rates,
                **tables,
                "networks": networks(options, rates),
                "points": options.points,
                "threads": torch.get_num_threads(),
                "numba_threads": numba.get_num_threads(),
                "peak_memory_mb": peak_memory_mb(),
            }
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
