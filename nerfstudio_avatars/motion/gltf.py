"""Skeletal animations in glTF 2.0 files (.glb, .gltf, .vrm, .vrma), matched by node names.

This is a reader of its own, because trimesh, the only common glTF reader, drops animations.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from nerfstudio_avatars.bodies.rotations import (
    axis_angle_to_matrix,
    axis_angle_to_quaternion,
    matrix_to_axis_angle,
    quaternion_to_axis_angle,
    slerp_axis_angle,
)
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion.gltf_file import FIX, GltfFile
from nerfstudio_avatars.motion.joint_map import JointMap
from nerfstudio_avatars.motion.joint_names import match_joints
from nerfstudio_avatars.motion.motion_file import MotionFile
from nerfstudio_avatars.motion.retarget import ancestors, retarget
from nerfstudio_avatars.motion.skeleton import SkeletonMotion, SkeletonPose, find_joints

_DEFAULT_FPS, _FASTEST, _MOST_FRAMES, _DEEPEST = 30.0, 240.0, 200_000, 1000
_MOST_NODES, _MOST_POSES = 4_000, 4_000_000
"""Nodes, and nodes times frames: ten minutes of a skeleton of two hundred joints at 30 frames a second."""


def is_gltf(head: bytes) -> bool:
    """Whether the start of a file is that of a GLB or glTF file."""
    keys = (b'"asset"', b'"accessors"', b'"animations"', b'"nodes"', b'"scenes"', b'"extensionsUsed"', b'"buffers"')
    return head.startswith(b"glTF") or (head.lstrip().startswith(b"{") and any(key in head for key in keys))


def read_gltf(
    path: str | Path, rest_joints: Float[torch.Tensor, "24 3"] | None = None, *, joint_map: JointMap | None = None
) -> MotionFile:
    """Reads the motion of a person in the longest animation, retargeted to SMPL's joints by node names.

    Translations, rotations and scales may have any interpolation. They are sampled at the rate of the keys if it is
    even, otherwise at 30 frames per second. Buffers may be in the file, in data URIs, or in files beside it.

    Args:
        path: the file.
        rest_joints: T-pose joints of the body that will move, `body.rest(betas)[1]`, in metres; by default those of
            the stand-in.
        joint_map: the file's names for SMPL's joints, if they are known.

    Raises:
        DataError: the file is not a complete glTF file, names files elsewhere, or does not move a person.
    """
    try:
        return _read(Path(path), rest_joints, joint_map)
    except DataError:
        raise
    except OSError as error:
        raise DataError(path, f"{type(error).__name__}: {error}", "a readable file", "check the path") from error
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, struct.error) as error:
        # The JSON of a broken file may hold anything anywhere.
        raise DataError(path, f"{type(error).__name__}: {error}", "glTF 2.0, as its schema says", FIX) from error


def _read(path: Path, rest_joints: torch.Tensor | None, joint_map: JointMap | None) -> MotionFile:
    file = GltfFile(path)
    nodes = file.json.get("nodes", [])
    if len(nodes) > _MOST_NODES:
        raise DataError(path, f"{len(nodes)} nodes", f"at most {_MOST_NODES}", FIX)
    parents = _parents(path, nodes)
    names, bind = _people(file, nodes)
    # The pose of the skin is a rest pose even if that of the nodes is not; here only the tree is needed.
    every = sorted(range(len(nodes)), key=lambda node: len(ancestors(parents, node)))
    joints = _skeleton_joints(path, nodes, names, parents, every, joint_map)
    animation, notes = _animation(file, set(joints.values()))
    tracks = _tracks(file, animation)
    times, fps = _times([keys for keys, _, _ in tracks.values()])

    # Only the nodes of the person and those above them, parents first.
    way = [ancestors(parents, node) for node in range(len(nodes))]
    pelvis = joints.get("pelvis", -1)
    wanted = {node for node in range(len(nodes)) if pelvis in way[node]}.union(*(way[node] for node in joints.values()))
    order = sorted(wanted, key=lambda node: len(way[node]))
    index = {node: place for place, node in enumerate(order)} | {-1: -1}
    if len(times) * len(order) > _MOST_POSES:
        found = f"{len(times)} frames of {len(order)} nodes"
        raise DataError(path, found, "a shorter animation, or fewer nodes", "export a part of the animation")
    moved = _globals(nodes, order, parents, {key: _sample(*track, times) for key, track in tracks.items()}, len(times))
    still = _globals(nodes, order, parents, {}, 1)
    default = SkeletonPose(still.rotations[0], still.positions[0])
    rests: tuple[SkeletonPose, ...] = (default,)
    if set(joints.values()) <= bind.keys():
        rotations, positions = default.rotations.clone(), default.positions.clone()
        for node in set(order) & bind.keys():
            matrix = torch.from_numpy(bind[node])
            rotations[index[node]], positions[index[node]] = _unscaled(matrix[:3, :3]), matrix[:3, 3]
        rests = (SkeletonPose(rotations, positions), default)
    source = SkeletonMotion(
        tuple(names[node] for node in order), tuple(index[parents[node]] for node in order), rests, moved, fps
    )
    return retarget(source, path, "glTF", notes, rest_joints, joint_map)


def _skeleton_joints(
    path: Path,
    nodes: list[dict[str, Any]],
    names: list[str],
    parents: tuple[int, ...],
    order: list[int],
    joint_map: JointMap | None,
) -> dict[str, int]:
    """The node of each of SMPL's joints, in the nodes' own pose; by names alone if that is not a person's pose."""
    if not nodes:
        return {}
    pose = _globals(nodes, order, parents, {}, 1)
    place = {node: index for index, node in enumerate(order)} | {-1: -1}
    source = SkeletonMotion(
        tuple(names[node] for node in order),
        tuple(place[parents[node]] for node in order),
        (SkeletonPose(pose.rotations[0], pose.positions[0]),),
        pose,
        1.0,
    )
    try:
        found = find_joints(source, path, joint_map).joints
    except DataError:
        if joint_map:
            raise
        return match_joints(tuple(names))
    return {joint: order[node] for joint, node in found.items()}


def _parents(path: Path, nodes: list[dict[str, Any]]) -> tuple[int, ...]:
    parents = [-1] * len(nodes)
    for node, content in enumerate(nodes):
        for child in content.get("children", []):
            if not 0 <= child < len(nodes) or parents[child] >= 0:
                raise DataError(path, f"node {child} as a child of node {node}", "a tree of nodes", FIX)
            parents[child] = node
    for node in range(len(nodes)):
        depth, above = 0, parents[node]
        while above >= 0:
            depth, above = depth + 1, parents[above]
            if depth > _DEEPEST:
                raise DataError(path, f"node {node} deeper than {_DEEPEST} others, or in a ring", "a tree", FIX)
    return tuple(parents)


def _people(file: GltfFile, nodes: list[dict[str, Any]]) -> tuple[list[str], dict[int, np.ndarray]]:
    """Names of nodes that can be joints (of the largest skin, or listed in a VRM file), and their bind transforms."""
    names = [str(node.get("name") or f"node {number}") for number, node in enumerate(nodes)]
    skin: dict[str, Any] = max(file.json.get("skins", []), key=lambda skin: len(skin["joints"]), default={})
    bind: dict[int, np.ndarray] = {}
    if skin:
        names = [name if node in set(skin["joints"]) else "" for node, name in enumerate(names)]
    if "inverseBindMatrices" in skin:
        inverse = file.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).swapaxes(1, 2)  # stored by columns
        for node, matrix in zip(skin["joints"], inverse, strict=False):
            if abs(np.linalg.det(matrix)) > 0:
                bind[node] = np.linalg.inv(matrix)
    for extension in ("VRMC_vrm", "VRMC_vrm_animation", "VRM"):
        bones = file.json.get("extensions", {}).get(extension, {}).get("humanoid", {}).get("humanBones", {})
        if isinstance(bones, list):  # VRM 0
            bones = {bone["bone"]: bone for bone in bones}
        if bones:
            names = [""] * len(nodes)
            for name, bone in bones.items():
                if not 0 <= bone["node"] < len(nodes):
                    raise DataError(file.path, f"the bone {name} at node {bone['node']}", "one of its nodes", FIX)
                names[bone["node"]] = name
    return names, bind


def _animation(file: GltfFile, joints: set[int]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The longest animation that rotates joints of the person."""
    animations = file.json.get("animations", [])
    lengths = {}
    for number, animation in enumerate(animations):
        targets = [channel["target"] for channel in animation["channels"]]
        if any(target.get("node") in joints and target.get("path") == "rotation" for target in targets):
            keys = [file.array(sampler["input"]) for sampler in animation["samplers"]]
            lengths[number] = max(float(times.max()) for times in keys) - min(float(times.min()) for times in keys)
    if not lengths:
        found = f"{len(animations)} animations, none of which turns a joint of a person"
        raise DataError(file.path, found, "an animated skeleton with joints named as CMU, Mixamo, VRM or SMPL do", FIX)
    names = {number: str(animations[number].get("name", f"number {number}")) for number in lengths}
    best = max(lengths, key=lambda number: lengths[number])
    others = ", ".join(repr(name) for number, name in names.items() if number != best)
    note = f"{len(lengths)} animations: {names[best]!r} is the longest ({lengths[best]:.1f} s); not read: {others}"
    return animations[best], (note,) if others else ()


_Track = tuple[np.ndarray, np.ndarray, str]
_REST = {"translation": (0.0, 0.0, 0.0), "rotation": (0.0, 0.0, 0.0, 1.0), "scale": (1.0, 1.0, 1.0)}


def _tracks(file: GltfFile, animation: dict[str, Any]) -> dict[tuple[int, str], _Track]:
    """Maps node and path to keys (in seconds), values and interpolation. Morph targets and extensions are left out."""
    tracks = {}
    for channel in animation["channels"]:
        target, sampler = channel["target"], animation["samplers"][channel["sampler"]]
        if "node" not in target or target["path"] not in _REST:
            continue
        if channel["sampler"] < 0 or not 0 <= target["node"] < len(file.json["nodes"]):
            raise DataError(file.path, f"a channel of node {target['node']}", "one of its nodes", FIX)
        kind = sampler.get("interpolation", "LINEAR")
        keys, values = file.array(sampler["input"])[:, 0], file.array(sampler["output"])
        expected = (len(keys) * (3 if kind == "CUBICSPLINE" else 1), len(_REST[target["path"]]))
        if kind not in ("LINEAR", "STEP", "CUBICSPLINE") or values.shape != expected or (np.diff(keys) < 0).any():
            found = f"{kind}, {len(keys)} keys and values of shape {values.shape} for {target['path']}"
            raise DataError(file.path, found, f"rising keys and values of shape {expected}", FIX)
        tracks[target["node"], target["path"]] = keys, values, kind
    return tracks


def _times(keys: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """Times to sample at in seconds, and the frame rate: that of the keys if they are even."""
    densest = max(keys, key=len)
    start, end = min(float(key[0]) for key in keys), max(float(key[-1]) for key in keys)
    fps, steps = _DEFAULT_FPS, np.diff(densest)
    if len(steps) > 1 and 1 / _FASTEST < steps.mean() and np.ptp(steps) < 0.02 * steps.mean() and steps.mean() < 0.11:
        fps = 1 / float(steps.mean())
        fps = float(round(fps)) if abs(fps - round(fps)) < 1e-3 * fps else fps
    count = round((end - start) * fps) + 1
    if count > _MOST_FRAMES:
        raise ValueError(f"an animation of {end - start:.0f} seconds")
    return start + np.arange(count) / fps, fps


def _sample(
    keys: Float[np.ndarray, " keys"], values: np.ndarray, kind: str, times: Float[np.ndarray, " times"]
) -> Float[np.ndarray, "times width"]:
    """Interpolates as in glTF 2.0, appendix C; values are held outside the keys. Four numbers are a quaternion."""
    times = times.clip(keys[0], keys[-1])
    # Sampling times and keys are both rounded; a key that lies a rounding error ahead has been reached.
    first = (np.searchsorted(keys, times + 1e-5, "right") - 1).clip(0, max(len(keys) - 2, 0))
    last = np.minimum(first + 1, len(keys) - 1)
    step = (keys[last] - keys[first])[:, None]
    t = ((times - keys[first])[:, None] / np.where(step > 0, step, 1)).clip(0, 1)
    quaternions = values.shape[1] == 4
    if kind == "CUBICSPLINE":
        arrive, values, leave = values.reshape(-1, 3, values.shape[1]).swapaxes(0, 1)
        a, b = values[first], values[last]
        result = (2 * t**3 - 3 * t**2 + 1) * a + step * (t**3 - 2 * t**2 + t) * leave[first]
        result += (3 * t**2 - 2 * t**3) * b + step * (t**3 - t**2) * arrive[last]
    elif kind == "STEP":
        result = np.where(t > 1 - 1e-5 / np.maximum(step, 1e-5), values[last], values[first])
    elif quaternions:
        a, b = (_axis_angle(torch.from_numpy(values[key])) for key in (first, last))
        return _quaternion(slerp_axis_angle(a, b, torch.from_numpy(t))).numpy()
    else:
        result = (1 - t) * values[first] + t * values[last]
    return result / np.linalg.norm(result, axis=1, keepdims=True).clip(1e-12) if quaternions else result


def _globals(
    nodes: list[dict[str, Any]],
    order: list[int],
    parents: tuple[int, ...],
    moved: dict[tuple[int, str], np.ndarray],
    frames: int,
) -> SkeletonPose:
    """Global rotations and positions of nodes, which include their parents, in the given order."""
    rotations: dict[int, torch.Tensor] = {}
    affine: dict[int, torch.Tensor] = {}
    positions: dict[int, torch.Tensor] = {}
    for node in order:
        parts = _parts(nodes[node])
        values = {path: torch.from_numpy(moved.get((node, path), parts[path][None])) for path in _REST}
        turn = axis_angle_to_matrix(_axis_angle(values["rotation"]))
        local = turn * values["scale"][:, None]
        place = values["translation"]
        if parents[node] >= 0:
            before = parents[node]
            place = positions[before] + (affine[before] @ place[..., None])[..., 0]
            turn, local = rotations[before] @ turn, affine[before] @ local
        rotations[node], affine[node], positions[node] = turn, local, place
    return SkeletonPose(
        torch.stack([rotations[node].expand(frames, 3, 3) for node in order], 1),
        torch.stack([positions[node].expand(frames, 3) for node in order], 1),
    )


def _parts(node: dict[str, Any]) -> dict[str, np.ndarray]:
    """Local translation, rotation (x, y, z, w) and scale of a node."""
    if "matrix" in node:
        matrix = torch.tensor(node["matrix"], dtype=torch.float64).reshape(4, 4).T
        turn = _unscaled(matrix[:3, :3])
        rotation, scale = _quaternion(matrix_to_axis_angle(turn)), (turn.T @ matrix[:3, :3]).diagonal()
        return {"translation": matrix[:3, 3].numpy(), "rotation": rotation.numpy(), "scale": scale.numpy()}
    return {path: np.array(node.get(path, rest), np.float64).reshape(len(rest)) for path, rest in _REST.items()}


def _unscaled(matrix: torch.Tensor) -> torch.Tensor:
    """The rotation closest to a matrix of rotation and scale."""
    u, _, v = torch.linalg.svd(matrix)
    return u @ torch.diag(torch.tensor([1.0, 1.0, torch.det(u @ v).sign()], dtype=matrix.dtype)) @ v


def _axis_angle(quaternion: torch.Tensor) -> torch.Tensor:
    """Rotation vectors of quaternions (x, y, z, w)."""
    return quaternion_to_axis_angle(torch.nn.functional.normalize(quaternion, dim=-1).roll(1, -1))


def _quaternion(axis_angle: torch.Tensor) -> torch.Tensor:
    """Quaternions (x, y, z, w) of rotation vectors."""
    return axis_angle_to_quaternion(axis_angle).roll(-1, -1)
