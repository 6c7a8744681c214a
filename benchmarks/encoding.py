"""What the hash encoding costs, by backend and table size: numba, our plain torch, nerfstudio's torch.

Prints one JSON object: for each table its size in MB and, for each backend, the milliseconds of a forward pass and of a
forward and backward pass, over the same points, ordered along short rays as a march makes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from stand_in import note, peak_memory_mb, seconds_in_turn  # first: it settles how torch's threads wait

# isort: split
import torch
import tyro
from nerfstudio.field_components.encodings import HashEncoding
from torch import Tensor

from nerfstudio_avatars.backend import use_numba
from nerfstudio_avatars.instant_avatar.field.hash_grid import hash_encode, hash_encode_torch
from nerfstudio_avatars.instant_avatar.field.hash_grid_layout import HashGridLayout

TABLES = {
    "cpu_10x16": (10, 16, 1.45),
    "gpu_16x19": (16, 19, 1.5),
}
"""Levels, log2 of a level's entries and growth: those of `instant-avatar-cpu` and `instant-avatar`."""


@dataclass
class Options:
    """Sizes of the benchmark."""

    points: int = 1 << 15
    """Points of a call."""
    repetitions: int = 7
    """Timed calls, of which the median counts."""


def points_on_rays(count: int, run: int = 32) -> Tensor:
    """Points of the unit cube in short straight runs."""
    generator = torch.Generator().manual_seed(0)
    start = torch.rand(-(-count // run), 1, 3, generator=generator) * 0.8 + 0.1
    direction = torch.nn.functional.normalize(torch.randn(start.shape, generator=generator), dim=-1)
    return (start + torch.linspace(0, 0.1, run)[:, None] * direction).clamp(0, 1).reshape(-1, 3)[:count].contiguous()


def main(options: Options) -> None:
    """Runs all backends on all tables and prints the figures."""
    x = points_on_rays(options.points)
    found: dict[str, dict] = {}
    for name, (levels, log2_size, growth) in TABLES.items():
        layout = HashGridLayout.build(levels, 16, growth, log2_size)
        table = torch.rand(layout.entries, 2, requires_grad=True)
        theirs = HashEncoding(
            num_levels=levels, min_res=16, max_res=int(16 * growth ** (levels - 1)), log2_hashmap_size=log2_size,
            implementation="torch",
        )  # fmt: skip
        encodings: dict[str, Callable[[], Tensor]] = {
            "torch": lambda table=table, layout=layout: hash_encode_torch(x, table, layout),
            "nerfstudio_torch": lambda theirs=theirs: theirs(x),
        }
        if use_numba(x):
            encodings["numba"] = lambda table=table, layout=layout: hash_encode(x, table, layout)

        def forward(encode: Callable[[], Tensor]) -> None:
            with torch.no_grad():
                encode()

        work: dict[str, Callable[[], object]] = {}
        for backend, encode in encodings.items():
            work[f"{backend}_forward_ms"] = lambda encode=encode, forward=forward: forward(encode)
            work[f"{backend}_forward_backward_ms"] = lambda encode=encode: encode().sum().backward()
        seconds = seconds_in_turn(work, options.repetitions)
        found[name] = {"table_mb": round(table.numel() * 4 / 2**20, 1)}
        found[name].update({key: round(1000 * value, 2) for key, value in seconds.items()})
        note(f"{name}: {found[name]}")
    print(
        json.dumps(
            {
                **found,
                "points": len(x),
                "threads": torch.get_num_threads(),
                "peak_memory_mb": peak_memory_mb(),
            }
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
