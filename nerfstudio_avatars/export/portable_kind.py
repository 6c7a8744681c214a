"""What a portable file holds of a kind of object that `unsup-volanim` has learnt, with all its identities.

Its arrays are the network's weights and the poses that a checkpoint keeps. Of the clips it knows a name, a length and a
rate: those of the first clip, which can drive, and of one for each identity.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.models.base_model import ModelConfig
from torch import Tensor

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.export.checked_fields import Limits, as_plain, from_plain
from nerfstudio_avatars.nerfstudio_glue.kept_scene import KeptScene
from nerfstudio_avatars.unsup_volanim.data.clip_cameras import clip_cameras, clip_scene_box
from nerfstudio_avatars.unsup_volanim.data.clip_table import Clip, ClipTable, HeldOutFrames
from nerfstudio_avatars.unsup_volanim.data.clips import Clips
from nerfstudio_avatars.unsup_volanim.kept_poses import rows_to_keep
from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel, UnsupVolanimModelConfig
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation, VolumetricAnimationConfig
from nerfstudio_avatars.unsup_volanim.schedule import AnimationScheduleConfig

_OF_TRAINING = frozenset({"losses", "schedule", "search", "table", "part_noise", "max_steps"})
"""Options that only a training needs; so do the weights that begin with these."""
_LEFT_OUT = _OF_TRAINING | {field.name for field in dataclasses.fields(ModelConfig)}
_TRAINED_WITH = ("search.", "table.")
_LIMITS: Limits = {
    "parts": (1, 64),
    "points_per_edge": (2, 16),
    "code_size": (1, 4096),
    "widths": (1, 2048),
    "same_blocks": (0, 8),
    "attention_levels": (0, 4),
    "doublings": (0, 3),
    "input_size": (8, 1024),
    "head": (1, 31),
    "hidden": (1, 8192),
    "copies": (1, 64),
    "samples": (1, 4096),
    "chunk": (1, 1 << 28),
    "enlarge": (1, 4),
    "eval_samples": (1, 4096),
    "eval_num_rays_per_chunk": (1, 1 << 24),
    "rounds": (0, 100_000),
    "code_steps": (0, 100_000),
    "tune_steps": (0, 100_000),
    "pictures_per_step": (1, 1024),
    "size": (0, 4096),
}
"""Limits of options that decide how much memory or time a picture, or fitting somebody, takes."""
_MOST_LEVELS, _MOST_NAMES, _MOST_FRAMES, _LARGE = 6, 1_000_000, 1_000_000, 1e6
_LONGEST_NAME = 500
_MOST_VOLUMES = 4e9
"""Bytes of volumes in a file to pass on."""

Kind = tuple[UnsupVolanimModelConfig, KeptScene, dict[str, Tensor], dict[str, Any]]


def kind_content(model: UnsupVolanimModel) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a file says of a kind, as JSON knows it, and its arrays."""
    clips, state = model.clips, model.get_extra_state()
    kept = sorted({0, *(clips.clip_of_identity(number) for number in range(len(clips.identities)))})
    number_of = {clip: number for number, clip in enumerate(kept)}
    options = as_plain(model.config, _LEFT_OUT)
    # What tells pictures apart is found anew on every machine; a training without it fitted nobody with it.
    options["perceptual"] = "auto" if model.config.losses.perceptual and options["perceptual"] != "off" else "off"
    about = {
        "identities": list(clips.identities),
        "clips": [
            {
                "name": clips.table[clip].name,
                # Of all others only the first pose is kept.
                "frames": clips.table[clip].frames if clip == 0 else 1,
                "fps": clips.table[clip].fps,
                "identity": clips.identity_of_clip[clip],
            }
            for clip in kept
        ],
        "size": clips.size,
        "has_masks": clips.has_masks,
        "options": options,
    }
    options["network"]["identity_rows"] = "dense"
    weights = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    weights |= _dense_rows(model.network)
    weights.pop("network.embedding.rows.table", None)
    arrays = {f"weights.{name}": one for name, one in weights.items() if not name.startswith(_TRAINED_WITH)}
    poses = state["poses"]
    if poses:
        known = [row for row, (clip, frame) in enumerate(poses["rows"].tolist()) if _is_kept(clip, frame, number_of)]
        rows = torch.tensor([[number_of[int(clip)], int(frame)] for clip, frame in poses["rows"][known]])
        arrays |= {"poses.rows": rows.view(-1, 2)}
        arrays |= {f"poses.{name}": poses[name][known] for name in ("rotation", "translation")}
    return about, arrays


def _dense_rows(network: VolumetricAnimation) -> dict[str, Tensor]:
    """What a network whose identities are learnt sparsely would have as weights otherwise."""
    if network.embedding.rows is None:
        return {}
    found = {"network.embedding.table": network.embedding.rows.table}
    if network.config.detail:
        size = network.identities * 4 * network.config.generator.resolution**3 * 4
        if size > _MOST_VOLUMES:
            raise UserError(
                f"the volumes of {network.identities} identities take {size / 1e9:.0f} GB, which is too much for one "
                f"file to pass on (at most {_MOST_VOLUMES / 1e9:.0f} GB). Use the run itself, with its detail.rows."
            )
        numbers = torch.arange(network.identities, device=network.prior.device)
        with network.evaluating():
            volumes = network.detail_of(numbers)
        assert volumes is not None
        found["network.detail"] = volumes
    return found


def _is_kept(clip: int, frame: int, number_of: dict[int, int]) -> bool:
    return clip in number_of and (clip == 0 or frame == 0)


def kind_of(about: dict[str, Any], arrays: dict[str, np.ndarray]) -> Kind:
    """Options, scene, weights and extra state in a file, after everything was compared with everything else.

    Args:
        about: what the file says.
        arrays: numpy's.

    Raises:
        ValueError: with what was found.
    """
    clips = _clips(about)
    config = from_plain(UnsupVolanimModelConfig, about["options"], _LIMITS, frozenset(_LEFT_OUT))
    config.schedule = AnimationScheduleConfig(articulate_from=1.0)
    _check_arrays(arrays, config.network, clips)
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
    weights = {name.removeprefix("weights."): value for name, value in tensors.items() if name.startswith("weights.")}
    poses = {name.removeprefix("poses."): value for name, value in tensors.items() if name.startswith("poses.")}
    cameras = clip_cameras(clips.table, torch.tensor(rows_to_keep(clips)), clips.size)
    scene = KeptScene(clip_scene_box(), cameras, {"clips": clips})
    return config, scene, weights, {"clips": clips.state(), "poses": poses}


def _clips(about: dict[str, Any]) -> Clips:
    names = {"provenance", "identities", "clips", "size", "has_masks", "options"}
    if about.keys() != names:
        raise ValueError(f"a description of {', '.join(map(repr, sorted(about)))[:200]}")
    identities, clips, size = about["identities"], about["clips"], about["size"]
    if not isinstance(identities, list) or not all(_is_name(one) for one in identities):
        raise ValueError("identities that are no names")
    if not 1 <= len(identities) <= _MOST_NAMES or len(set(identities)) < len(identities):
        raise ValueError(f"{len(identities)} identities, or one twice")
    if not isinstance(clips, list) or not 1 <= len(clips) <= _MOST_NAMES:
        raise ValueError("no list of clips")
    if type(size) is not int or not 8 <= size <= 4096 or type(about["has_masks"]) is not bool:
        raise ValueError(f"pictures of {size!r:.40} pixels, masks: {about['has_masks']!r:.40}")
    for clip in clips:
        _check_clip(clip, len(identities))
    numbers = [clip["identity"] for clip in clips]
    if set(range(len(identities))) - set(numbers):
        raise ValueError("an identity without a clip")
    if sum(clip["frames"] for clip in clips) > _MOST_FRAMES:
        raise ValueError("clips of too many frames")
    # No frame can be read, because there is no reader; a message about a clip names it.
    table = [
        Clip(name=clip["name"], path=clip["name"], frames=clip["frames"], fps=float(clip["fps"])) for clip in clips
    ]
    return Clips(
        root=Path(),
        table=ClipTable(table),
        identities=identities,
        identity_of_clip=numbers,
        size=size,
        held_out=HeldOutFrames(0),
        has_masks=about["has_masks"],
    )


def _check_clip(clip: Any, identities: int) -> None:
    if not isinstance(clip, dict) or clip.keys() != {"name", "frames", "fps", "identity"} or not _is_name(clip["name"]):
        raise ValueError(f"a clip that is {clip!r:.80}")
    frames, fps, identity = clip["frames"], clip["fps"], clip["identity"]
    if type(frames) is not int or not 1 <= frames <= _MOST_FRAMES or type(fps) not in (int, float):
        raise ValueError(f"a clip of {frames!r:.40} frames at {fps!r:.40} a second")
    if not 0 < fps < 10_000 or type(identity) is not int or not -1 <= identity < identities:
        raise ValueError(f"a clip at {fps!r:.40} frames a second that shows identity {identity!r:.40}")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable()


def _check_arrays(arrays: dict[str, np.ndarray], network: VolumetricAnimationConfig, clips: Clips) -> None:
    """Compares the largest weights with the options before anything so large is made; the model compares all."""
    generator, detector = network.generator, network.detector
    if not 2 <= len(generator.widths) <= _MOST_LEVELS + 1 or not 1 <= len(detector.widths) <= _MOST_LEVELS:
        raise ValueError("networks of too many resolutions, or none")
    if detector.input_size % 2 ** len(detector.widths) or min(network.prior_radii) <= 0:
        raise ValueError("options of networks that contradict each other")
    points = network.points_per_edge**3
    first = {"keypoints": network.parts, "upright": 1}[network.part_detector]
    expected = {
        "embedding.table": (len(clips.identities), generator.code_size),
        "generator.entry.weight": (generator.widths[0] * 4**3, generator.code_size),
        "point_logits": (network.parts, points, 3),
        "detector.head.bias": (first * points,),
        "articulated": (),
    }
    for level, (wide, narrow) in enumerate(zip(generator.widths[:-1], generator.widths[1:], strict=True)):
        expected[f"generator.levels.{level}.0.conv1.weight"] = (narrow, wide, 3, 3, 3)
    for level, (wide, narrow) in enumerate(zip((3, *detector.widths[:-1]), detector.widths, strict=True)):
        expected[f"detector.down.{level}.0.weight"] = (narrow, wide, 3, 3)
    if detector.positional_bias > 0:
        expected["detector.bias"] = (first * points, detector.input_size**2)
    if network.part_detector == "upright":
        expected["relative.out.weight"] = (6 * network.parts, network.relative.hidden)
    if network.detail:
        expected["detail"] = (len(clips.identities), 4, *[generator.resolution] * 3)
    if network.fine_detail:
        fine = (4, *[2 * generator.resolution] * 3)
        expected |= {f"fine.{number}": fine for number in range(len(clips.identities))}
    for name, shape in expected.items():
        _has(arrays, f"weights.network.{name}", shape)
    parts = network.parts if bool(arrays["weights.network.articulated"]) else 1
    if "poses.rows" in arrays:
        _check_poses(arrays, clips, parts)
    for name, array in arrays.items():
        if not name.startswith("weights.") and name not in ("poses.rows", "poses.rotation", "poses.translation"):
            raise ValueError(f"an array {name!r:.60} that belongs to no kind")
        if array.dtype.kind == "f" and array.size and abs(array).max() > _LARGE:
            raise ValueError(f"{name!r:.60} with numbers beyond {_LARGE:g}")


def _check_poses(arrays: dict[str, np.ndarray], clips: Clips, parts: int) -> None:
    rows = arrays["poses.rows"]
    if rows.dtype != np.int64 or rows.ndim != 2 or rows.shape[1] != 2:
        raise ValueError(f"poses of frames of type {rows.dtype} and shape {rows.shape}")
    _has(arrays, "poses.rotation", (len(rows), parts, 3, 3))
    _has(arrays, "poses.translation", (len(rows), parts, 3))
    lengths = np.array([clip.frames for clip in clips.table])
    if len(rows) and ((rows < 0).any() or (rows[:, 0] >= len(lengths)).any()):
        raise ValueError("poses of clips that there are not")
    if len(rows) and (rows[:, 1] >= lengths[rows[:, 0]]).any():
        raise ValueError("poses of frames that there are not")


def _has(arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> None:
    array = arrays.get(name)
    if array is None:
        raise ValueError(f"no array {name!r}")
    if array.shape != shape:
        raise ValueError(f"{name!r} of shape {array.shape}, expected {shape}")
