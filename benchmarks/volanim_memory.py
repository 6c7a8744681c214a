#!/usr/bin/env python
"""How much memory does one training step of `unsup-volanim` take at the paper's size? One JSON object.

    python benchmarks/volanim_memory.py --chunk 4194304

The paper's articulated phase: 4 pictures of 256x256, 10 parts, 128 samples a ray, features of VGG19 (with random
weights, which take as much memory as trained ones). `--chunk 0` draws without deferred back-propagation.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import torch
import tyro
from stand_in import peak_memory_mb

from nerfstudio_avatars.unsup_volanim.losses.feature_trunks import Vgg19Trunk
from nerfstudio_avatars.unsup_volanim.losses.perceptual import PerceptualPyramid
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation, VolumetricAnimationConfig
from nerfstudio_avatars.unsup_volanim.training import AnimationAids, AnimationBatch, AnimationLossConfig, animation_step
from nerfstudio_avatars.unsup_volanim.voxel_render import VoxelRenderConfig


@dataclass
class Options:
    """The size of the step."""

    pictures: int = 4
    """Of one identity each."""
    size: int = 256
    """Side of the pictures, pixels."""
    samples: int = 128
    """Along a ray."""
    parts: int = 10
    """Rigid parts."""
    chunk: int = VoxelRenderConfig.chunk
    """Samples times parts rendered at once; 0: all."""
    device: str = "cpu"
    """`cuda` counts the GPU's memory."""


def main(options: Options) -> None:
    """One step, and the most memory that it took."""
    torch.manual_seed(0)
    render = VoxelRenderConfig(samples=options.samples, chunk=options.chunk or 1 << 62)
    network = VolumetricAnimation(VolumetricAnimationConfig(parts=options.parts, render=render), options.pictures)
    network.articulate(0.1)
    network.to(options.device)
    optimizer = torch.optim.Adam(network.parameters())
    perceptual = PerceptualPyramid(random_vgg19()).to(options.device)
    images = torch.rand(options.pictures, 3, options.size, options.size, device=options.device)
    rows = torch.arange(options.pictures, device=options.device)
    batch = AnimationBatch(images, torch.ones_like(images[:, :1]), rows, rows)
    before = peak_memory_mb()
    start = time.perf_counter()
    step = animation_step(network, batch, AnimationLossConfig(pixel=0.0), AnimationAids(), perceptual)
    torch.stack(list(step.losses.values())).sum().backward()
    optimizer.step()
    seconds = time.perf_counter() - start
    on_gpu = options.device != "cpu"
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else peak_memory_mb()
    print(
        json.dumps(
            {
                "question": "how much memory does a training step at the paper's size take?",
                **vars(options),
                "peak_memory_mb": round(peak),
                "before_the_step_mb": before,
                "seconds": round(seconds, 1),
                "threads": torch.get_num_threads(),
            }
        )
    )


def random_vgg19() -> Vgg19Trunk:
    """A trunk of the right size, untrained."""
    widths = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256)}
    widths |= {16: (256, 256), 19: (256, 512), 21: (512, 512), 23: (512, 512), 25: (512, 512), 28: (512, 512)}
    return Vgg19Trunk(
        {f"conv{n}": (torch.randn(o, i, 3, 3) * (9 * i) ** -0.5, torch.zeros(o)) for n, (i, o) in widths.items()}
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
