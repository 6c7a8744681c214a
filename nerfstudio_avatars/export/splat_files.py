"""Splats in files that viewers of Gaussian splats open: PLY, SPZ and glTF.

PLY: the layout of https://github.com/graphdeco-inria/gaussian-splatting. SPZ, version 3:
https://github.com/nianticlabs/spz. glTF: the extension KHR_gaussian_splatting of
https://github.com/KhronosGroup/glTF.
"""

from __future__ import annotations

import gzip
import struct

import numpy as np
import torch

from nerfstudio_avatars.export.splats import Splats, quaternions, turned
from nerfstudio_avatars.motion.gltf_writer import CORNERS, GltfWriter

_CONSTANT = 0.28209479177387814
"""The first spherical harmonic, whose coefficient colours are."""
_SURE = 1e-4
"""How far opacities stay from 0 and 1, whose logits are infinite."""
_SPZ_MAGIC, _SPZ_VERSION, _SPZ_ANTIALIASED = 0x5053474E, 3, 1
_FRACTION_BITS = 14
"""Bits after the point of SPZ's positions: 0.06 mm, within 512 m."""
_EXTENSION = "KHR_gaussian_splatting"


def ply_bytes(splats: Splats) -> bytes:
    """Splats as PLY, in the axes that they are given in."""
    names = ["x", "y", "z", "nx", "ny", "nz", *(f"f_dc_{n}" for n in range(3)), "opacity"]
    names += [*(f"scale_{n}" for n in range(3)), *(f"rot_{n}" for n in range(4))]
    values = np.concatenate(
        [
            splats.centres,
            torch.zeros_like(splats.centres),
            _coefficients(splats),
            _logits(splats)[:, None],
            splats.sizes.log(),
            splats.turns,
        ],
        1,
    )
    header = ["ply", "format binary_little_endian 1.0", "comment metres", f"element vertex {len(values)}"]
    header += [*(f"property float {name}" for name in names), "end_header\n"]
    return "\n".join(header).encode() + values.astype("<f4").tobytes()


def spz_bytes(splats: Splats) -> bytes:
    """Splats as SPZ, a tenth as large. They have to be given with x to the right, y up and z backwards.

    Raises:
        ValueError: splats too far away for what the file can hold.
    """
    places = (splats.centres.double().numpy() * (1 << _FRACTION_BITS)).round().astype(np.int64)
    if abs(places).max(initial=0) >= 1 << 23:
        raise ValueError(f"splats more than {(1 << 23 - _FRACTION_BITS)} m from the origin")
    colours = _coefficients(splats).numpy() * (0.15 * 255) + 127.5
    sizes = (splats.sizes.log().numpy() + 10) * 16
    parts = [
        # 24 bits each.
        places.astype("<i4").view(np.uint8).reshape(-1, 3, 4)[..., :3],
        *(part.round().clip(0, 255).astype(np.uint8) for part in (splats.opacities.numpy() * 255, colours, sizes)),
        _three_smallest(splats.turns.double().numpy()),
    ]
    header = struct.pack(
        "<IIIBBBB", _SPZ_MAGIC, _SPZ_VERSION, len(places), 0, _FRACTION_BITS, _SPZ_ANTIALIASED, 0
    )  # fmt: skip
    return gzip.compress(header + b"".join(part.tobytes() for part in parts), mtime=0)


def splat_glb(splats: Splats, copyright_notice: str = "") -> bytes:
    """Splats as glTF. Viewers that do not know the extension show coloured points.

    Args:
        splats: with y up.
        copyright_notice: what the file says of its licence.
    """
    writer = GltfWriter()
    if copyright_notice:
        writer.json["asset"]["copyright"] = copyright_notice
    colours = torch.cat([splats.colours.clamp(0, 1), splats.opacities[:, None]], -1)
    values = {
        "COLOR_0": colours,
        f"{_EXTENSION}:ROTATION": splats.turns.roll(-1, -1),
        f"{_EXTENSION}:SCALE": splats.sizes,
        f"{_EXTENSION}:OPACITY": splats.opacities,
        f"{_EXTENSION}:SH_DEGREE_0_COEF_0": _coefficients(splats),
    }
    attributes = {"POSITION": writer.array(splats.centres.float().numpy(), CORNERS, bounds=True)}
    attributes |= {name: writer.array(value.float().numpy(), CORNERS) for name, value in values.items()}
    told = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}
    primitive = {"mode": 0, "attributes": attributes, "extensions": {_EXTENSION: told}}
    writer.json["extensionsUsed"] = [_EXTENSION]
    mesh = writer.add("meshes", {"name": "person", "primitives": [primitive]})
    writer.json["scene"] = writer.add("scenes", {"nodes": [writer.add("nodes", {"name": "person", "mesh": mesh})]})
    return writer.glb()


def upside_down(splats: Splats) -> Splats:
    """The splats with y down and z forwards, as cameras see: most PLY files are so, and viewers expect it."""
    half_turn = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    turns = quaternions(half_turn @ turned(splats.turns.double()).float())
    return Splats(splats.centres @ half_turn, turns, splats.sizes, splats.colours, splats.opacities)


def _coefficients(splats: Splats) -> torch.Tensor:
    return (splats.colours - 0.5) / _CONSTANT


def _logits(splats: Splats) -> torch.Tensor:
    return splats.opacities.clamp(_SURE, 1 - _SURE).logit()


def _three_smallest(turns: np.ndarray) -> np.ndarray:
    """Quaternions (w, x, y, z) in 4 bytes: which of x, y, z, w is largest, and the other three in 10 bits each."""
    turns = np.roll(turns, -1, 1)
    largest = abs(turns).argmax(1)
    turns = turns * np.where(np.take_along_axis(turns, largest[:, None], 1) < 0, -1, 1)
    packed = largest.astype(np.uint32)
    for axis in range(4):
        size = (abs(turns[:, axis]) * (511 * np.sqrt(2))).round().clip(0, 511).astype(np.uint32)
        bits = size | ((turns[:, axis] < 0).astype(np.uint32) << 9)
        packed = np.where(axis == largest, packed, packed << 10 | bits)
    return packed.astype("<u4").view(np.uint8)
