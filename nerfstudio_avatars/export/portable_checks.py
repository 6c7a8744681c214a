"""What has to hold in a portable avatar before any of it is used: kernels trust indices and sizes blindly."""

from __future__ import annotations

from typing import Any

import numpy as np

from nerfstudio_avatars.export.checked_fields import Limits
from nerfstudio_avatars.instant_avatar.field.hash_grid_layout import HashGridLayout
from nerfstudio_avatars.instant_avatar.model import InstantAvatarModelConfig

LIMITS: Limits = {
    "step": (0, 10**9),
    "levels": (1, 32),
    "log2_table_size": (1, 24),
    "base_resolution": (2, 4096),
    "per_level_scale": (1, 4),
    "width": (1, 1024),
    "geometry_features": (1, 1024),
    "cell_size": (0.01, 0.2),
    "band": (0.005, 0.3),
    "skinning_neighbours": (1, 32),
    "skinning_sweeps": (0, 100),
    "template_prior": (0, 10),
    "max_samples": (1, 4096),
    "ray_cut": (0, 1e6),
    "paper_resolution": (2, 256),
    "broyden_bones": (0, 23),
    "bin_size": (0.005, 0.5),
    "frame_light_weight": (0, 1000),
    "eval_rays_per_chunk": (1, 1 << 24),
    "max_steps": (1, 10**9),
}
"""Limits of options, most of which decide how much memory or time a picture takes. `step` is of training and of
marching."""

_SMALLEST_STEP = 1e-4
_FINEST = 1 << 20
"""Cells along the canonical cube at the finest level."""
_PLACE, _FAR, _LARGE = 10.0, 1e4, 1e6
"""Largest coordinates of the body, of the scene, and largest weight."""
_CAMERA = {"camera_to_worlds": (3, 4), "fx": (1,), "fy": (1,), "cx": (1,), "cy": (1,), "width": (1,), "height": (1,)}
_SMPL_VERTICES = 6890
_VOLUME = ("origin", "cell_index", "cells", "node_positions", "node_weights", "distance", "distance_cells")


def check_text(about: dict[str, Any]) -> None:
    """Checks the types of what is not an array.

    Raises:
        ValueError: with what was found.
    """
    names = {"provenance", "body", "gender", "fps", "jumping_frames", "options", "volume"}
    if about.keys() != names:
        raise ValueError(f"a description of {', '.join(map(repr, sorted(about)))[:200]}")
    if about["body"] not in ("standin", "smpl") or about["gender"] not in ("neutral", "male", "female"):
        raise ValueError(f"a {about['gender']!r:.40} body called {about['body']!r:.40}")
    if type(about["fps"]) not in (int, float) or not 0 < about["fps"] < 10_000:
        raise ValueError(f"{about['fps']!r:.40} frames per second")
    frames = about["jumping_frames"]
    if not isinstance(frames, list) or not all(type(one) is int and 0 <= one < 10**9 for one in frames):
        raise ValueError("jumping frames that are no frames")
    volume = about["volume"]
    if (volume is not None) != (about["body"] == "standin"):
        raise ValueError("a skinning volume of SMPL, or none of the stand-in")
    if volume is None:
        return
    if not isinstance(volume, dict) or volume.keys() != {"shape", "spacing", "band"}:
        raise ValueError("a skinning volume without shape, spacing and band")
    shape = volume["shape"]
    if not isinstance(shape, list) or len(shape) != 3 or not all(type(n) is int and 2 <= n <= 1024 for n in shape):
        raise ValueError(f"a skinning volume of shape {shape!r:.60}")


def check_arrays(arrays: dict[str, np.ndarray], about: dict[str, Any], config: InstantAvatarModelConfig) -> None:
    """Checks shapes, ranges and indices of all arrays but the networks' (which are compared with the model's).

    Raises:
        ValueError: with what was found.
    """
    if config.avatar.step < _SMALLEST_STEP or config.avatar.step > 1:
        raise ValueError(f"options.avatar.step = {config.avatar.step:g}, expected {_SMALLEST_STEP} to 1")
    field = config.avatar.field
    if field.base_resolution * field.per_level_scale ** (field.levels - 1) > _FINEST:
        raise ValueError("a hash grid finer than any picture")
    layout = HashGridLayout.build(field.levels, field.base_resolution, field.per_level_scale, field.log2_table_size)
    _has(arrays, "weights.avatar.field.table", "f4", (layout.entries, 2), _LARGE)
    frames = _frames(arrays)
    _scene(arrays, frames)
    _poses(arrays, frames)
    if about["volume"]:
        options = config.avatar
        if (about["volume"]["spacing"], about["volume"]["band"]) != (options.cell_size, options.band):
            raise ValueError("a skinning volume of another spacing or band than the options'")
        _volume(arrays, tuple(about["volume"]["shape"]), options.cell_size)
    known = {"train_frames", "box", *(f"cameras.{name}" for name in _CAMERA)}
    known |= {f"motion.{name}" for name in ("betas", "global_orient", "body_pose", "transl")}
    known |= {f"volume.{name}" for name in _VOLUME} if about["volume"] else {"reach"}
    if "reach" in arrays and not about["volume"]:
        _has(arrays, "reach", "f4", (_SMPL_VERTICES,), 1.0)
    for name, array in arrays.items():
        if name not in known and not name.startswith("weights."):
            raise ValueError(f"an array {name!r:.60} that belongs to no avatar")
        if array.dtype.kind == "f" and array.size and abs(array).max() > _LARGE:
            raise ValueError(f"{name!r:.60} with numbers beyond {_LARGE:g}")


def _has(
    arrays: dict[str, np.ndarray], name: str, kind: str, shape: tuple[int, ...], largest: float = _LARGE
) -> np.ndarray:
    array = arrays.get(name)
    if array is None:
        raise ValueError(f"no array {name!r}")
    if array.dtype.str[1:] != kind or array.shape != shape:
        raise ValueError(f"{name!r} of type {array.dtype} and shape {array.shape}, expected {kind} and {shape}")
    if kind[0] == "f" and array.size and abs(array).max() > largest:
        raise ValueError(f"{name!r} with numbers beyond {largest:g}")
    return array


def _within(array: np.ndarray, name: str, low: int, high: int | np.ndarray) -> None:
    """Low to high, without the last."""
    if array.size and ((array < low) | (array >= high)).any():
        raise ValueError(f"indices in {name!r} that lead out of what they point into")


def _frames(arrays: dict[str, np.ndarray]) -> int:
    transl = arrays.get("motion.transl")
    if transl is None or transl.ndim != 2 or not 1 <= len(transl) <= 10**6:
        raise ValueError("no motion of the video")
    return len(transl)


def _scene(arrays: dict[str, np.ndarray], frames: int) -> None:
    shapes = {"betas": (10,), "global_orient": (frames, 3), "body_pose": (frames, 69), "transl": (frames, 3)}
    for name, shape in shapes.items():
        _has(arrays, f"motion.{name}", "f4", shape, _FAR)
    trained = arrays.get("train_frames")
    if trained is None or trained.dtype != np.int64 or trained.ndim != 1 or not len(trained):
        raise ValueError("no list of training frames")
    _within(trained, "train_frames", 0, frames)
    box = _has(arrays, "box", "f4", (2, 3), _FAR)
    if not (box[0] < box[1]).all():
        raise ValueError("a box without an inside")
    for name, shape in _CAMERA.items():
        whole = name in ("width", "height")
        array = _has(arrays, f"cameras.{name}", "i8" if whole else "f4", (len(trained), *shape), _LARGE)
        if whole:
            _within(array, f"cameras.{name}", 1, 1 << 16)
        elif name in ("fx", "fy") and not (array > 0).all():
            raise ValueError("cameras without focal length")


def _poses(arrays: dict[str, np.ndarray], frames: int) -> None:
    shapes = {"rest_joints": (24, 3), "joint_offsets": (24, 3), "canonical_inverse": (24, 4, 4)}
    for name, shape in shapes.items():
        _has(arrays, f"weights.poses.{name}", "f4", shape, _PLACE)
    for name, shape in {"start": (frames, 75), "frame_correction": (frames, 75), "transl": (frames, 3)}.items():
        _has(arrays, f"weights.poses.{name}", "f4", shape, _FAR)
    half = _has(arrays, "weights.avatar.field.half_size", "f4", (), _PLACE)
    if not half > 0.01:
        raise ValueError("a canonical cube of no size")


def _volume(arrays: dict[str, np.ndarray], shape: tuple[int, ...], spacing: float) -> None:
    fine = tuple(2 * n - 1 for n in shape)
    _has(arrays, "volume.origin", "f4", (3,), _PLACE)
    _has(arrays, "volume.distance", "f4", fine, _FAR)
    if (_has(arrays, "volume.distance_cells", "i8", (3,)) != np.array(fine) - 1).any():
        raise ValueError("a skinning volume whose sizes contradict each other")
    weights = arrays.get("volume.node_weights")
    cells = arrays.get("volume.cells")
    if weights is None or cells is None or not weights.size or not cells.size:
        raise ValueError("a skinning volume without nodes or cells")
    nodes = len(weights)
    _has(arrays, "volume.node_weights", "f4", (nodes, 24), 1.001)
    if (weights < -1e-3).any() or abs(weights.sum(1) - 1).max() > 1e-3:
        raise ValueError("skinning weights that are no shares")
    _has(arrays, "volume.node_positions", "f4", (nodes, 3), _PLACE)
    _within(_has(arrays, "volume.cells", "i4", (len(cells), 8)), "volume.cells", 0, nodes)
    places = _has(arrays, "volume.cell_index", "i4", (len(cells), 3))
    _within(places, "volume.cell_index", 0, np.array(shape) - 1)
    if len(np.unique(places, axis=0)) < len(places):
        raise ValueError("cells of a skinning volume that lie in the same place")
    # The kernels take it that a cell's corners are where its place says.
    corners = arrays["volume.node_positions"][cells[:, 0]]
    if abs(corners - (arrays["volume.origin"] + spacing * places)).max() > 1e-3:
        raise ValueError("cells of a skinning volume whose corners lie elsewhere")
