"""What VoxCeleb would take on GPUs: what a step of the paper's size does, counted and timed here, and assumptions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stand_in import median_seconds, note  # first: it settles how torch's threads wait

# isort: split
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from volanim_memory import random_vgg19

from nerfstudio_avatars.methods import unsup_volanim
from nerfstudio_avatars.unsup_volanim.losses.perceptual import PerceptualPyramid
from nerfstudio_avatars.unsup_volanim.network import (
    VolumetricAnimation,
    VolumetricAnimationConfig,
)
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
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
