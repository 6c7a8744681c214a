"""Writes glTF 2.0 as one binary file (.glb): arrays, pictures, and skeletons with SMPL's joints that move."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES, JOINT_PARENTS
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.rotations import axis_angle_to_quaternion
from nerfstudio_avatars.motion.forward_kinematics import bones

_JSON, _BIN = 0x4E4F534A, 0x004E4942
_COMPONENTS = {"f4": 5126, "u4": 5125, "u2": 5123, "u1": 5121}
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
CORNERS, TRIANGLES = 34962, 34963
"""Targets of buffer views that hold attributes of vertices, and indices of triangles."""


@dataclass
class GltfWriter:
    """A glTF under construction: its JSON, and one buffer.

    >>> writer = GltfWriter()
    >>> writer.add("nodes", {"name": "nobody"}), writer.array(np.zeros((2, 3), np.float32))
    (0, 0)
    >>> writer.glb()[:4]
    b'glTF'
    """

    json: dict[str, Any] = field(
        default_factory=lambda: {"asset": {"version": "2.0", "generator": "nerfstudio-avatars"}}
    )
    binary: bytearray = field(default_factory=bytearray)

    def add(self, kind: str, entry: dict[str, Any]) -> int:
        """Appends to one of glTF's lists, such as `nodes`, and returns the index of the entry."""
        entries = self.json.setdefault(kind, [])
        entries.append(entry)
        return len(entries) - 1

    def bytes_view(self, data: bytes, target: int | None = None) -> int:
        """Adds a buffer view of bytes, such as a picture."""
        self.binary += bytes(-len(self.binary) % 4)
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data)}
        self.binary += data
        return self.add("bufferViews", view if target is None else view | {"target": target})

    def array(
        self, values: np.ndarray, target: int | None = None, *, bounds: bool = False, normalized: bool = False
    ) -> int:
        """Adds an accessor.

        Args:
            values: (count,) or (count, width), as float32, or as unsigned integers of 1, 2 or 4 bytes.
            target: `CORNERS` or `TRIANGLES` for parts of a mesh.
            bounds: whether to state the smallest and largest values, as positions and times must.
            normalized: whether integers stand for 0 to 1.
        """
        rows = values.reshape(len(values), -1)
        little = np.ascontiguousarray(rows, rows.dtype.newbyteorder("<"))
        entry = {
            "bufferView": self.bytes_view(little.tobytes(), target),
            "componentType": _COMPONENTS[rows.dtype.str[1:]],
            "count": len(rows),
            "type": _TYPES[rows.shape[1]],
        }
        if bounds:
            entry |= {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
        if normalized:
            entry["normalized"] = True
        return self.add("accessors", entry)

    def glb(self) -> bytes:
        """The whole file."""
        self.binary += bytes(-len(self.binary) % 4)
        text = json.dumps(self.json | {"buffers": [{"byteLength": len(self.binary)}]}, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<II", len(text), _JSON) + text + struct.pack("<II", len(self.binary), _BIN) + self.binary
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def add_skeleton(writer: GltfWriter, rest_joints: Float[torch.Tensor, "24 3"]) -> list[int]:
    """Adds a node for each of SMPL's joints, in the T-pose, under its name.

    Args:
        rest_joints: joints of the T-pose, metres, y up.

    Returns:
        The node of each joint; the first is the root.
    """
    first = len(writer.json.get("nodes", []))
    for joint, (name, bone) in enumerate(zip(JOINT_NAMES, bones(rest_joints).tolist(), strict=True)):
        node: dict[str, Any] = {"name": name, "translation": bone}
        children = [first + child for child, parent in enumerate(JOINT_PARENTS) if parent == joint]
        writer.add("nodes", node | ({"children": children} if children else {}))
    return list(range(first, first + len(JOINT_NAMES)))


def add_animation(
    writer: GltfWriter, name: str, motion: BodySequence, rest_joints: Float[torch.Tensor, "24 3"], nodes: list[int]
) -> None:
    """Adds a motion as an animation of a skeleton: rotations of all joints, and translations of the root.

    Args:
        writer: where the skeleton is.
        name: what viewers show.
        motion: metres, y up.
        rest_joints: as given to `add_skeleton`.
        nodes: as `add_skeleton` returned them.
    """
    angles = torch.cat([motion.global_orient, motion.body_pose], 1).unflatten(1, (24, 3))
    turns = continuous_turns(angles)
    tracks = [(node, "rotation", turns[:, joint]) for joint, node in enumerate(nodes)]
    tracks.append((nodes[0], "translation", motion.pelvis(rest_joints[0]).float().numpy()))
    add_tracks(writer, name, tracks, motion.fps)


def add_tracks(writer: GltfWriter, name: str, tracks: list[tuple[int, str, np.ndarray]], fps: float) -> None:
    """Adds an animation.

    Args:
        writer: where the nodes are.
        name: what viewers show.
        tracks: node, `rotation` (frames, 4) or `translation` (frames, 3), and its values, float32.
        fps: frames per second.
    """
    times = writer.array((np.arange(len(tracks[0][2])) / fps).astype(np.float32), bounds=True)
    samplers = [{"input": times, "output": writer.array(values), "interpolation": "LINEAR"} for *_, values in tracks]
    channels = [
        {"sampler": number, "target": {"node": node, "path": path}} for number, (node, path, _) in enumerate(tracks)
    ]
    writer.add("animations", {"name": name, "samplers": samplers, "channels": channels})


def continuous_turns(angles: Float[torch.Tensor, "frames joints 3"]) -> Float[np.ndarray, "frames joints 4"]:
    """Quaternions (x, y, z, w) with signs that do not jump, because some viewers interpolate the numbers as they are.

    Args:
        angles: rotation vectors, radians.
    """
    quaternions = axis_angle_to_quaternion(angles.double()).roll(-1, -1).numpy()
    jumps = np.sign((quaternions[1:] * quaternions[:-1]).sum(-1, keepdims=True))
    signs = np.cumprod(np.where(jumps < 0, -1.0, 1.0), 0)
    return np.concatenate([quaternions[:1], quaternions[1:] * signs]).astype(np.float32)
