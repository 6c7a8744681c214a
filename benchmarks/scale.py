#!/usr/bin/env python
"""What do many clips and identities cost `unsup-volanim`? One JSON object.

    python benchmarks/scale.py

Frames a second from videos and from shards, in the batches of training; memory with 100 and with 20,000 identities and
the start with 100,000 clips, whose shards are simulated (files with holes, which read as zeros); what a step, memory
and a checkpoint spend on codes and volumes of identities, by their number; and, from what is counted in a step at the
paper's size (operations of the networks, bytes that the renderer moves), what VoxCeleb would take on GPUs.
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
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from volanim_memory import random_vgg19

from nerfstudio_avatars.demo.head_clips import draw_head_clips
from nerfstudio_avatars.files import write_json
from nerfstudio_avatars.methods import unsup_volanim
from nerfstudio_avatars.nerfstudio_glue.optimizers import ClippedAdam
from nerfstudio_avatars.unsup_volanim.data.clip_folders import find_clips
from nerfstudio_avatars.unsup_volanim.data.clip_frames import ClipFramesDataManager, ClipFramesDataManagerConfig
from nerfstudio_avatars.unsup_volanim.data.dataparsers import VoxCelebDataParserConfig
from nerfstudio_avatars.unsup_volanim.data.packing import pack_clips
from nerfstudio_avatars.unsup_volanim.data.shards import FRAMES, INDEX, KIND, TABLE, PackedClip, ShardTable
from nerfstudio_avatars.unsup_volanim.losses.perceptual import PerceptualPyramid
from nerfstudio_avatars.unsup_volanim.network import (
    IdentityRowsKind,
    VolumetricAnimation,
    VolumetricAnimationConfig,
)
from nerfstudio_avatars.unsup_volanim.sparse_rows import SparseRows
from nerfstudio_avatars.unsup_volanim.volume_rows import VolumeRows
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
from nerfstudio_avatars.unsup_volanim.voxel_field import IdentityEmbedding
from nerfstudio_avatars.unsup_volanim.voxel_render import render_voxels, standard_rays

PEAK = {"fp32": 67e12, "bf16": 990e12}
"""Operations a second of one H100 (SXM) by its data sheet: fp32 without, bf16 with its matrix units."""
UTILISATION = {"fp32": 0.4, "bf16": 0.25}
"""Shares of these peaks that are assumed to be reached."""
BANDWIDTH, REACHED = 3.35e12, 0.7
"""Bytes a second that its memory moves by its data sheet, and the share that is assumed to be reached."""
PICTURE = 256
"""Side of VoxCeleb's pictures in `unsup-volanim`, pixels."""
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


def operations() -> dict[str, float]:
    """Operations of the networks, forwards and backwards, counted without doing them."""
    note("counting operations")
    network = VolumetricAnimation(VolumetricAnimationConfig(parts=10), 4).to("meta")
    perceptual = PerceptualPyramid(random_vgg19()).to("meta")
    codes = torch.randn(2, network.config.generator.code_size, device="meta")
    pictures = torch.rand(2, 3, PICTURE, PICTURE, device="meta")
    drawn = torch.rand(2, PICTURE, PICTURE, 3, device="meta", requires_grad=True)
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


class Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write, each tensor once for each operation."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Does the operation, and counts it unless it only looks at memory in another way."""
        result = func(*args, **(kwargs or {}))
        taken, given = ([one for one in tree_leaves(each) if isinstance(one, Tensor)] for each in (args, result))
        memory = {one.untyped_storage().data_ptr() for one in taken}
        is_view = not func._schema.is_mutable and all(one.untyped_storage().data_ptr() in memory for one in given)
        if not is_view:
            self.bytes += sum(min(one.nbytes, one.untyped_storage().nbytes()) for one in (*taken, *given))
        return result


def rendering() -> dict[str, float]:
    """Bytes for each sample that the renderer of `unsup-volanim` reads and writes as plain torch, as on a GPU."""
    note("counting what rendering reads and writes")
    os.environ["NERFSTUDIO_AVATARS_BACKEND"] = "torch"
    torch.manual_seed(0)
    config = unsup_volanim.config.pipeline.model.network
    side, frames, parts = config.generator.resolution, PER_STEP[1], config.parts
    # Two pieces, as large as in training, of which each is drawn again for its gradient.
    rays = 2 * (config.render.chunk // (frames * config.render.samples * parts))
    cubes = torch.rand(1, parts + 4, side, side, side, requires_grad=True)
    rotation = torch.eye(3).repeat(frames, parts, 1, 1).requires_grad_()
    poses = PartPoses(rotation, torch.zeros(frames, parts, 3, requires_grad=True))
    with Traffic() as traffic:
        seen = render_voxels(cubes, poses, standard_rays(PICTURE, "cpu")[:rays], config.render, jitter=True)
        (seen.rgb.sum() + seen.accumulation.sum()).backward()
    del os.environ["NERFSTUDIO_AVATARS_BACKEND"]
    return {"bytes_per_sample": traffic.bytes / (rays * frames * config.render.samples)}


def voxceleb(counted: dict[str, float], bytes_per_sample: float) -> dict[str, Any]:
    """Days that the paper's steps would take, by what a step computes, what its renderer moves, and the assumptions."""
    identities, frames = PER_STEP
    pictures = identities * frames
    # Each picture is looked at twice: as it is, and warped, for the equivariance loss.
    per_picture = 2 * counted["detector_per_picture"] + counted["perceptual_per_picture"]
    step = identities * counted["generator_per_identity"] + pictures * per_picture
    moved = pictures * PICTURE**2 * unsup_volanim.config.pipeline.model.network.render.samples * bytes_per_sample
    seconds = {f"networks_{kind}": step / (PEAK[kind] * UTILISATION[kind]) for kind in PEAK}
    seconds["renderer"] = moved / (BANDWIDTH * REACHED)
    days = {
        kind: {
            gpus: (seconds[f"networks_{kind}"] + seconds["renderer"]) * STEPS / (gpus * share) / 86400
            for gpus, share in SCALING.items()
        }
        for kind in PEAK
    }
    assumed = {
        "peak": PEAK,
        "utilisation": UTILISATION,
        "bandwidth": BANDWIDTH,
        "reached": REACHED,
        "scaling": SCALING,
        "identities_and_frames": PER_STEP,
    }
    return {
        "days": days,
        "steps": STEPS,
        "operations_per_step": step,
        "bytes_moved_per_step": moved,
        "seconds_per_step_on_one": seconds,
        "assumed": assumed,
    }


def main(options: Options) -> None:
    """Everything, one after the other."""
    found: dict[str, Any] = {"question": "what do many clips and identities cost?"}
    found["operations"] = operations()
    found["rendering"] = rendering()
    found["voxceleb"] = voxceleb(found["operations"], found["rendering"]["bytes_per_sample"])
    note(json.dumps(found))
    with tempfile.TemporaryDirectory() as temporary, contextlib.redirect_stdout(sys.stderr):
        folder = Path(temporary)
        found["reading"] = reading(folder, options)
        found["many"] = {count: many(folder, count, options) for count in (100, 20_000, options.many_clips)}
        found["rows"] = rows(folder, options)
    found["volumes_at_once_gb"] = {count: count * 4 * 64**3 * 4 / 1e9 for count in options.identities}
    found |= {"threads": torch.get_num_threads(), "peak_memory_mb": peak_memory_mb()}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main(tyro.cli(Options))
