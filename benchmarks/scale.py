#!/usr/bin/env python
"""What do many clips and identities cost `unsup-volanim`? One JSON object.

    python benchmarks/scale.py

Frames a second from videos and from shards, in the batches of training; memory with 100 and with 20,000 identities and
the start with 100,000 clips, whose shards are simulated (files with holes, which read as zeros); what a step spends on
codes of identities, by their number; and, from operations counted in a step at the paper's size, what VoxCeleb would
take on GPUs.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stand_in import median_seconds, note, peak_memory_mb  # first: it settles how torch's threads wait

# isort: split
import psutil
import torch
import tyro
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from volanim_memory import random_vgg19

from nerfstudio_avatars.demo.head_clips import draw_head_clips
from nerfstudio_avatars.files import write_json
from nerfstudio_avatars.nerfstudio_glue.optimizers import ClippedAdam
from nerfstudio_avatars.unsup_volanim.data.clip_folders import find_clips
from nerfstudio_avatars.unsup_volanim.data.clip_frames import ClipFramesDataManager, ClipFramesDataManagerConfig
from nerfstudio_avatars.unsup_volanim.data.dataparsers import VoxCelebDataParserConfig
from nerfstudio_avatars.unsup_volanim.data.packing import pack_clips
from nerfstudio_avatars.unsup_volanim.data.shards import FRAMES, INDEX, KIND, TABLE, PackedClip, ShardTable
from nerfstudio_avatars.unsup_volanim.losses.perceptual import PerceptualPyramid
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation, VolumetricAnimationConfig
from nerfstudio_avatars.unsup_volanim.voxel_field import IdentityEmbedding

PEAK = {"fp32": 67e12, "bf16": 990e12}
"""Operations a second of one H100 (SXM) by its data sheet: fp32 without, bf16 with its matrix units."""
UTILISATION = {"fp32": 0.4, "bf16": 0.25}
"""Shares of these peaks that are assumed to be reached."""
SCALING = {1: 1.0, 8: 0.9, 64: 0.8}
"""Shares of the speed that are assumed to be left on so many GPUs."""
STEPS, PER_STEP = 1_500_000, (8, 4)
"""Steps of the paper on VoxCeleb; identities and frames of each in a step, as `unsup-volanim` has them."""

WARM_UP = 100
"""Batches read before those that are timed."""


@dataclass
class Options:
    """What to measure with."""

    clips: int = 12
    """Drawn clips."""
    frames: int = 24
    """Of each."""
    size: int = 128
    """Side of the pictures, pixels."""
    batches: int = 20
    """Batches read from either."""
    identities: tuple[int, ...] = (100, 1_000, 20_000)
    """Numbers of identities to compare."""
    many_clips: int = 100_000
    """Clips to start with."""
    step_size: int = 256
    """Side of the pictures of the step whose operations are counted."""


def manager(data: Path, size: int, **more: Any) -> ClipFramesDataManager:
    """As training has it, without people held out, and without frames kept in memory or decoded ahead."""
    parser = VoxCelebDataParserConfig(data=data, image_size=size, test_share=0.0)
    config = ClipFramesDataManagerConfig(
        dataparser=parser, identities_per_batch=8, frames_per_identity=4, cache_gb=0.0, prefetch=False, **more
    )
    return config.setup(device="cpu", test_mode="val")


def reading(folder: Path, options: Options) -> dict[str, Any]:
    """Frames a second in batches of training, from videos and from shards."""
    note("drawing clips")
    draw_head_clips(folder / "clips", options.clips, options.frames, options.size, test_identities=0)
    start = time.perf_counter()
    packed = pack_clips(find_clips(folder / "clips"), folder / "packed", options.size, 512)
    found: dict[str, Any] = {"packed_frames_per_s": packed.frames / (time.perf_counter() - start)}
    for kind in ("clips", "packed"):
        note(f"reading from {kind}")
        reads = manager(folder / kind, options.size)
        reads.next_train(0)
        start = time.perf_counter()
        for step in range(options.batches):
            _, batch = reads.next_train(step)
        seconds = time.perf_counter() - start
        name = {"clips": "video_frames_per_s", "packed": "shard_frames_per_s"}[kind]
        found[name] = options.batches * len(batch["image"]) / seconds
    return found | {"size": options.size, "shards_mb": packed.bytes / 1e6}


def simulate(folder: Path, clips: int, size: int, frames: int = 48, in_shard: int = 1000) -> Path:
    """Shards of as many clips, whose frames are holes in files."""
    folder.mkdir()
    each, names = frames * size * size * 3, []
    for number in range(-(-clips // in_shard)):
        some = range(number * in_shard, min((number + 1) * in_shard, clips))
        packed = tuple(
            PackedClip(f"id{one:06d}#video#000000#000048", frames, place * each, 0, False, fps=25.0, split="train")
            for place, one in enumerate(some)
        )
        name = f"shard-{number:05d}"
        names.append(name)
        with (folder / f"{name}{FRAMES}").open("wb") as file:
            file.truncate(len(packed) * each)
        write_json(folder / f"{name}{TABLE}", ShardTable(size, packed).as_json())
    write_json(folder / INDEX, {"kind": KIND, "size": size, "shards": names})
    return folder


def start_and_read(data: Path, size: int, batches: int, answer: Any) -> None:
    """In a process of its own: the time until the first batch can be read, the time of one, and memory."""
    sys.stdout = sys.stderr  # What is said on the way is no JSON.
    before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    reads = manager(data, size)
    started = time.perf_counter() - start
    start = time.perf_counter()
    reads.next_train(0)
    first = time.perf_counter() - start
    for step in range(1, WARM_UP):
        reads.next_train(step)  # Each shard's table is read once.
    start = time.perf_counter()
    for step in range(WARM_UP, WARM_UP + batches):
        reads.next_train(step)
    seconds = (time.perf_counter() - start) / batches
    grown = (psutil.Process().memory_info().rss - before) / 2**20
    answer.put({"start_s": started, "first_batch_ms": 1000 * first, "batch_ms": 1000 * seconds, "memory_mb": grown})


def many(folder: Path, clips: int, options: Options) -> dict[str, float]:
    """Start, reading and memory with many simulated clips."""
    note(f"{clips} clips")
    data = simulate(folder / f"clips-{clips}", clips, 64)
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=start_and_read, args=(data, 64, options.batches, answer))
    process.start()
    found = answer.get(timeout=1800)
    process.join()
    return found


def codes(identities: int) -> dict[str, float]:
    """What a step spends on the codes of identities: forwards, backwards and the optimizer's step."""
    torch.manual_seed(0)
    embedding = IdentityEmbedding(identities, 64)
    adam = ClippedAdam(embedding.parameters(), lr=1e-3, fused=True)
    drawn = torch.randint(identities, (8,))

    def step() -> None:
        adam.zero_grad()
        embedding(drawn).square().sum().backward()
        adam.step()

    rows = embedding.table.numel() * 4 / 1e6
    return {"step_ms": 1000 * median_seconds(step, 20, 3), "all_reduce_mb": rows, "checkpoint_mb": 3 * rows}


def operations(size: int) -> dict[str, float]:
    """Operations of the networks, forwards and backwards, counted without doing them; the renderer's are left out.

    Args:
        size: side of the pictures, pixels.
    """
    note("counting operations")
    network = VolumetricAnimation(VolumetricAnimationConfig(parts=10), 4).to("meta")
    perceptual = PerceptualPyramid(random_vgg19()).to("meta")
    codes = torch.randn(2, network.config.generator.code_size, device="meta")
    pictures = torch.rand(2, 3, size, size, device="meta")
    drawn = torch.rand(2, size, size, 3, device="meta", requires_grad=True)
    work: dict[str, Callable[[], Tensor]] = {
        "generator_per_identity": lambda: network.generator(codes, None),
        "detector_per_picture": lambda: network.detector(pictures, 10),
        "perceptual_per_picture": lambda: perceptual(drawn, pictures.permute(0, 2, 3, 1)),
    }
    found = {}
    for name, forwards in work.items():
        with FlopCounterMode(display=False) as counter:
            forwards().sum().backward()
        found[name] = counter.get_total_flops() / 2
    return found


def voxceleb(counted: dict[str, float]) -> dict[str, Any]:
    """Days that the paper's steps would take, by the operations of a step and the assumptions above."""
    identities, frames = PER_STEP
    pictures = identities * frames
    # Each picture is looked at twice: as it is, and warped, for the equivariance loss.
    per_picture = 2 * counted["detector_per_picture"] + counted["perceptual_per_picture"]
    step = identities * counted["generator_per_identity"] + pictures * per_picture
    days = {
        kind: {
            gpus: step * STEPS / (PEAK[kind] * UTILISATION[kind] * gpus * share) / 86400
            for gpus, share in SCALING.items()
        }
        for kind in PEAK
    }
    assumed = {"peak": PEAK, "utilisation": UTILISATION, "scaling": SCALING, "identities_and_frames": PER_STEP}
    return {"days": days, "steps": STEPS, "operations_per_step": step, "assumed": assumed}


def main(options: Options) -> None:
    """Everything, one after the other."""
    found: dict[str, Any] = {"question": "what do many clips and identities cost?"}
    found["operations"] = operations(options.step_size)
    found["voxceleb"] = voxceleb(found["operations"])
    note(json.dumps(found))
    with tempfile.TemporaryDirectory() as temporary, contextlib.redirect_stdout(sys.stderr):
        folder = Path(temporary)
        found["reading"] = reading(folder, options)
        found["many"] = {count: many(folder, count, options) for count in (100, 20_000, options.many_clips)}
    found["codes"] = {count: codes(count) for count in options.identities}
    found["detail_mb"] = {
        size: {count: count * 4 * size**3 * 4 / 1e6 for count in options.identities} for size in (32, 64)
    }
    found |= {"threads": torch.get_num_threads(), "peak_memory_mb": peak_memory_mb()}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main(tyro.cli(Options))
