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
BANDWIDTH = 3.35e12
"""Bytes a second that its memory moves by its data sheet."""
LINKS = {8: 450e9, 64: 50e9}
"""Bytes a second that one of so many GPUs sends: NVLink by the same data sheet, and a network card of 400 Gbit/s."""
REACHED = {"fp32": 0.4, "bf16": 0.25, "bandwidth": 0.7, "links": 0.5}
"""Shares of all these that large matrix products, copies and exchanges are assumed to reach."""
PICTURE = 256
"""Side of VoxCeleb's pictures in `unsup-volanim`, pixels."""
TOGETHER = {1: 1.0, 8: 0.9, 64: 0.8}
"""Shares of the time that so many GPUs are assumed to work, rather than to wait for the slowest of them."""
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


def network_parts(device: str, count: int) -> dict[str, Callable[[], Tensor]]:
    """What the networks do for so many identities or pictures at the size of `unsup-volanim`, forwards."""
    network = VolumetricAnimation(VolumetricAnimationConfig(parts=10), 4).to(device)
    perceptual = PerceptualPyramid(random_vgg19()).to(device)
    codes = torch.randn(count, network.config.generator.code_size, device=device)
    pictures = torch.rand(count, 3, PICTURE, PICTURE, device=device)
    drawn = torch.rand(count, PICTURE, PICTURE, 3, device=device, requires_grad=True)
    return {
        "generator_per_identity": lambda: network.generator(codes, None),
        "detector_per_picture": lambda: network.detector(pictures, 10),
        "perceptual_per_picture": lambda: perceptual(drawn, pictures.permute(0, 2, 3, 1)),
    }


def operations() -> dict[str, float]:
    """Operations of the networks, forwards and backwards, counted without doing them."""
    note("counting operations")
    found = {}
    for name, forwards in network_parts("meta", 2).items():
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


def rendering() -> tuple[Callable[[], None], int]:
    """Two of the pieces that training renders at once, with their gradients, as plain torch; and their samples."""
    torch.manual_seed(0)
    config = unsup_volanim.config.pipeline.model.network
    side, frames, parts = config.generator.resolution, PER_STEP[1], config.parts
    # Each piece is drawn again for its gradient.
    rays = 2 * (config.render.chunk // (frames * config.render.samples * parts))
    cubes = torch.rand(1, parts + 4, side, side, side, requires_grad=True)
    rotation = torch.eye(3).repeat(frames, parts, 1, 1).requires_grad_()
    poses = PartPoses(rotation, torch.zeros(frames, parts, 3, requires_grad=True))

    def draw() -> None:
        seen = render_voxels(cubes, poses, standard_rays(PICTURE, "cpu")[:rays], config.render, jitter=True)
        (seen.rgb.sum() + seen.accumulation.sum()).backward()

    return draw, rays * frames * config.render.samples


def bytes_per_sample() -> float:
    """Bytes that rendering reads and writes for a sample."""
    note("counting what rendering reads and writes")
    draw, samples = rendering()
    with Traffic() as traffic:
        draw()
    return traffic.bytes / samples


def exchanged_bytes() -> int:
    """Gradients of the networks, which processes exchange in a step; those of codes come on top."""
    network = VolumetricAnimation(unsup_volanim.config.pipeline.model.network, 1)
    return sum(4 * one.numel() for one in network.parameters())


def here(counted: dict[str, float]) -> dict[str, Any]:
    """Seconds of all this on this processor; and what share of the speed of a product of matrices networks reach."""
    found: dict[str, Any] = {}
    for name, forwards in network_parts("cpu", 1).items():
        note(f"timing {name}")
        found[name] = median_seconds(lambda forwards=forwards: forwards().sum().backward(), 3)
    note("timing rendering")
    draw, samples = rendering()
    found["rendering_per_sample"] = median_seconds(draw, 3) / samples
    matrix = torch.rand(2048, 2048)
    found["product_operations_per_s"] = 2 * 2048**3 / median_seconds(lambda: matrix @ matrix, 9)
    found["networks_reach"] = in_a_step(counted) / in_a_step(found) / found["product_operations_per_s"]
    return found


def in_a_step(each: dict[str, float]) -> float:
    """What a step sums up to, of operations or of seconds: each picture is detected as it is, and warped."""
    identities, frames = PER_STEP
    per_picture = 2 * each["detector_per_picture"] + each["perceptual_per_picture"]
    return identities * each["generator_per_identity"] + identities * frames * per_picture


def voxceleb(
    counted: dict[str, float], per_sample: float, timed: dict[str, Any], frames_per_s: float
) -> dict[str, Any]:
    """Days that as many pictures as the paper's take on GPUs.

    The renderer's share is estimated in two ways: by the bytes that it moves, as if they were all; and by its time
    here, beside that of the networks in fp32, as if a GPU did both faster by the same factor.

    Args:
        counted: operations of the networks.
        per_sample: bytes that rendering moves.
        timed: what `here` found.
        frames_per_s: frames that one process reads from shards in a second.
    """
    identities, frames = PER_STEP
    samples = identities * frames * PICTURE**2 * unsup_volanim.config.pipeline.model.network.render.samples
    work, moved, exchanged = in_a_step(counted), samples * per_sample, exchanged_bytes()
    networks_here, rendering_here = in_a_step(timed), samples * timed["rendering_per_sample"]
    found: dict[str, Any] = {
        "operations_per_step": work,
        "bytes_moved_per_step": moved,
        "bytes_exchanged_per_step": exchanged,
        "seconds_per_step_here": {"networks": networks_here, "rendering": rendering_here},
        "days_here": (networks_here + rendering_here) * STEPS / 86400,
    }
    by_time = work / (PEAK["fp32"] * REACHED["fp32"]) * rendering_here / networks_here
    for way, renderer in {"bytes": moved / (BANDWIDTH * REACHED["bandwidth"]), "time": by_time}.items():
        for kind, peak in PEAK.items():
            networks, days = work / (peak * REACHED[kind]), {}
            for gpus, together in TOGETHER.items():
                # An identity is the least that a GPU is given: with more GPUs a step has more, and there are fewer.
                at_once = max(identities, gpus)
                step = (networks + renderer) * at_once / (identities * gpus * together)
                if gpus > 1:
                    step += 2 * (gpus - 1) / gpus * exchanged / (LINKS[gpus] * REACHED["links"])
                days[gpus] = step * STEPS * identities / at_once / 86400
            found[f"{kind}, renderer by {way}"] = {
                "networks_s": networks,
                "renderer_s": renderer,
                "days": days,
                "reading_is_faster_times": frames_per_s / (identities * frames / (networks + renderer)),
            }
    assumed = {"peak": PEAK, "bandwidth": BANDWIDTH, "links": LINKS, "reached": REACHED, "together": TOGETHER}
    return found | {"assumed": assumed | {"steps": STEPS, "identities_and_frames": PER_STEP}}


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
