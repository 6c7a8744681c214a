#!/usr/bin/env python
"""What do many clips and identities cost `unsup-volanim`? One JSON object.

    python benchmarks/scale.py

Frames a second from videos and from shards, in the batches of training; memory with 100 and with 20,000 identities and
the start with 100,000 clips, whose shards are simulated (files with holes, which read as zeros); what a step, memory
and a checkpoint spend on codes and volumes of identities, by their number; and what VoxCeleb would take. For that,
what a step at the paper's size does is counted (operations of the networks, bytes that the renderer moves, gradients
that processes exchange) and timed on this processor. GPUs come from data sheets and assumptions, printed with it.
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
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
from voxceleb_steps import PER_STEP, PICTURE, bytes_per_sample, here, operations, voxceleb

from nerfstudio_avatars.demo.head_clips import draw_head_clips
from nerfstudio_avatars.files import write_json
from nerfstudio_avatars.nerfstudio_glue.optimizers import ClippedAdam
from nerfstudio_avatars.unsup_volanim.data.clip_folders import find_clips
from nerfstudio_avatars.unsup_volanim.data.clip_frames import ClipFramesDataManager, ClipFramesDataManagerConfig
from nerfstudio_avatars.unsup_volanim.data.dataparsers import VoxCelebDataParserConfig
from nerfstudio_avatars.unsup_volanim.data.packing import pack_clips
from nerfstudio_avatars.unsup_volanim.data.shards import FRAMES, INDEX, KIND, TABLE, PackedClip, ShardTable
from nerfstudio_avatars.unsup_volanim.network import (
    IdentityRowsKind,
)
from nerfstudio_avatars.unsup_volanim.sparse_rows import SparseRows
from nerfstudio_avatars.unsup_volanim.volume_rows import VolumeRows
from nerfstudio_avatars.unsup_volanim.voxel_field import IdentityEmbedding

WARM_UP = 100
"""Batches read before those that are timed."""


@dataclass
class Options:
    """What to measure with."""

    clips: int = 12
    """Drawn clips."""
    frames: int = 24
    """Of each."""
    size: int = PICTURE
    """Side of the pictures, pixels."""
    batches: int = 20
    """Batches read from either."""
    identities: tuple[int, ...] = (100, 1_000, 20_000)
    """Numbers of identities to compare."""
    many_clips: int = 100_000
    """Clips to start with."""


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


def alone(work: Callable[..., None], *arguments: Any) -> Any:
    """What a function answers (by its last argument, a queue) in a process of its own, whose memory is its alone."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=work, args=(*arguments, answer))
    process.start()
    found = answer.get(timeout=1800)
    process.join()
    return found


def many(folder: Path, clips: int, options: Options) -> dict[str, float]:
    """Start, reading and memory with many simulated clips."""
    note(f"{clips} clips")
    return alone(start_and_read, simulate(folder / f"clips-{clips}", clips, 64), 64, options.batches)


def learn_rows(kind: IdentityRowsKind, identities: int, side: int, folder: Path, answer: Any) -> None:
    """What identities have of their own: steps, memory, and a checkpoint.

    Args:
        kind: how it is learnt.
        identities: their number.
        side: voxels along an edge of their volumes; without volumes 0.
        folder: for the file of volumes.
    """
    torch.manual_seed(0)
    before = psutil.Process().memory_info().rss
    embedding = IdentityEmbedding(identities, 64, sparse=kind == "sparse")
    parts: list[torch.nn.Module] = [embedding]
    volumes = VolumeRows(identities, 4, side) if side else None
    if volumes is not None:
        volumes.file.keep_in(folder)
        parts.append(volumes)
    tables = [one for part in parts for one in part.modules() if isinstance(one, SparseRows)]
    parameters = [*embedding.parameters(), *(table.handle for table in tables)]
    adam = ClippedAdam(parameters, lr=1e-3, betas=(0.5, 0.999), fused=True)

    def step() -> None:
        drawn = torch.randint(identities, (PER_STEP[0],))
        adam.zero_grad()
        loss = embedding(drawn).square().sum()
        if volumes is not None:
            rows, places = volumes.drawn(drawn)
            loss = loss + rows[places].sum()
        loss.backward()
        adam.step()

    seconds = median_seconds(step, 20, 3)
    grown = (psutil.Process().memory_info().rss - before) / 2**20
    saved = io.BytesIO()
    torch.save([*(part.state_dict() for part in parts), adam.state_dict()], saved)
    each = embedding.table.numel() if kind == "dense" else PER_STEP[0] * (64 + 4 * side**3)
    answer.put(
        {
            "step_ms": 1000 * seconds,
            "memory_mb": grown,
            "checkpoint_mb": saved.tell() / 1e6,
            "gradients_exchanged_mb": each * 4 / 1e6,
        }
    )


def rows(folder: Path, options: Options) -> dict[str, Any]:
    """Codes alone, learnt either way, and with volumes, which only a file has room for."""
    ways: dict[str, tuple[IdentityRowsKind, int]] = {
        "codes_dense": ("dense", 0),
        "codes_sparse": ("sparse", 0),
        "codes_and_volumes_sparse": ("sparse", 64),
    }
    found: dict[str, Any] = {}
    for name, (kind, side) in ways.items():
        for count in options.identities:
            note(f"{name}: {count} identities")
            run = folder / f"{name}-{count}"
            run.mkdir()
            found.setdefault(name, {})[count] = alone(learn_rows, kind, count, side, run)
    return found


def main(options: Options) -> None:
    """Everything, one after the other."""
    found: dict[str, Any] = {"question": "what do many clips and identities cost?"}
    # On a GPU there are no kernels of numba's.
    os.environ["NERFSTUDIO_AVATARS_BACKEND"] = "torch"
    found["operations"], found["bytes_per_sample"] = operations(), bytes_per_sample()
    found["here"] = here(found["operations"])
    del os.environ["NERFSTUDIO_AVATARS_BACKEND"]
    note(json.dumps(found))
    with tempfile.TemporaryDirectory() as temporary, contextlib.redirect_stdout(sys.stderr):
        folder = Path(temporary)
        found["reading"] = reading(folder, options)
        known = found["operations"], found["bytes_per_sample"], found["here"]
        found["voxceleb"] = voxceleb(*known, found["reading"]["shard_frames_per_s"])
        note(json.dumps(found["voxceleb"]))
        found["many"] = {count: many(folder, count, options) for count in (100, 20_000, options.many_clips)}
        found["rows"] = rows(folder, options)
    found["volumes_at_once_gb"] = {count: count * 4 * 64**3 * 4 / 1e9 for count in options.identities}
    found |= {"threads": torch.get_num_threads(), "peak_memory_mb": peak_memory_mb()}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main(tyro.cli(Options))
