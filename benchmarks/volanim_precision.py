#!/usr/bin/env python
"""Do bfloat16 and compilation make the networks of `unsup-volanim` faster here?

    python benchmarks/volanim_precision.py

One JSON object: milliseconds forwards and backwards of the generator and of the detector of `unsup-volanim-tiny`, as
they are, in bfloat16 (as `--mixed-precision True` has it), and compiled (`torch.compile`), in turn. Of each also how
far its gradients are from the exact ones, and the seconds that compiling took, which every training would begin with.
It takes five minutes, most of them for compiling and, where the processor has no units for it, for bfloat16.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from stand_in import note, seconds_in_turn  # first: it settles how torch's threads wait

# isort: split
import torch
import tyro
from torch import Tensor, nn

from nerfstudio_avatars.methods import unsup_volanim_tiny
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation


@dataclass
class Options:
    """The size of a step."""

    identities: int = 3
    """Number of cubes."""
    frames: int = 9
    """Number of pictures."""
    size: int = 64
    """Side of the pictures, pixels."""
    repetitions: int = 5
    """Timed rounds."""


def gradients(network: VolumetricAnimation) -> Tensor:
    """All derivatives of the last call, one after the other."""
    return torch.cat([one.grad.flatten() for one in network.parameters() if one.grad is not None])


def main(options: Options) -> None:
    """Each network each way."""
    torch.manual_seed(0)
    plain = VolumetricAnimation(unsup_volanim_tiny.config.pipeline.model.network, options.identities)
    reduced, compiled = copy.deepcopy(plain), copy.deepcopy(plain)
    reduced.bf16 = True
    compiled.generator, compiled.detector = torch.compile(plain.generator), torch.compile(plain.detector)  # type: ignore[assignment]
    codes = torch.randn(options.identities, plain.config.generator.code_size)
    pictures = torch.rand(options.frames, 3, options.size, options.size)
    found = {}
    parts: dict[str, Callable[[VolumetricAnimation], Tensor]] = {
        "generator": lambda network: network.cubes_of(codes),
        "detector": lambda network: network.detect(pictures),
    }
    for name, forwards in parts.items():
        note(name)
        ways: dict[str, nn.Module] = {"fp32": plain, "bf16": reduced, "compiled": compiled}

        def step(network: nn.Module, forwards: Callable = forwards) -> None:
            network.zero_grad()
            forwards(network).square().sum().backward()

        start = time.perf_counter()
        step(compiled)
        compiling = time.perf_counter() - start
        off = {}
        step(plain)
        exact = gradients(plain)
        for way in ("bf16", "compiled"):
            step(ways[way])
            other = gradients(ways[way])  # type: ignore[arg-type]
            off[way] = float((other - exact).norm() / exact.norm())
        seconds = seconds_in_turn({way: lambda one=one: step(one) for way, one in ways.items()}, options.repetitions)
        found[name] = {
            "ms": {way: 1000 * value for way, value in seconds.items()},
            "gradient_error": off,
            "compiling_s": compiling,
        }
    print(
        json.dumps(
            {"question": "do bfloat16 and compilation pay?", "threads": torch.get_num_threads()} | found, indent=2
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
