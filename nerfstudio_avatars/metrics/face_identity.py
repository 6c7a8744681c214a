"""Face recognition by dlib's network in plain torch, with weights that ship with the package.

The architecture follows dlib's description of it (29 convolutions, half the width of ResNet-34) and face-api.js (MIT),
whose eight-bit copy of the weights is read. It is not the OpenFace network that papers report AED with.
"""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from nerfstudio_avatars.metrics.face_landmarks import RgbImage
from nerfstudio_avatars.metrics.head_pose import FACE_ASSETS

_MANIFEST = FACE_ASSETS / "face_recognition_model-weights_manifest.json"

SAME_PERSON = 0.6
"""dlib's threshold on the distance (not squared) of two embeddings of the same person."""

_CHIP_SIDE = 150
_MEAN_RGB = (122.782, 117.001, 104.298)

CHIP_LANDMARKS = (263, 362, 33, 133, 2)
"""Indices (of 468) of the outer and inner corner of the left eye, of the right eye, and of the base of the nose."""

CHIP_PLACES = (
    (0.859567, 0.213498),
    (0.646060, 0.228967),
    (0.120575, 0.213727),
    (0.334085, 0.229064),
    (0.490112, 0.627798),
)
"""Their places in dlib's face chip, before its border of a quarter face is added."""

_CHIP_PADDING = 0.25

_BLOCKS = (
    *("32_1", "32_2", "32_3"),
    *("64_down", "64_1", "64_2", "64_3"),
    *("128_down", "128_1", "128_2"),
    *("256_down", "256_1", "256_2", "256_down_out"),
)


def embed_faces(
    images: UInt8[Tensor, "frames height width 3"], landmarks: Float[Tensor, "frames 468 3"]
) -> Float[Tensor, "frames 128"]:
    """Embeds faces so that pictures of one person lie close together, whatever the pose and light.

    Args:
        images: RGB.
        landmarks: of the face in each picture, as from `FaceLandmarks.detect_all`; NaN where there is none.

    Returns:
        Embeddings with a length of 1.3 to 1.6 for clear pictures; NaN where there is no face.
    """
    embeddings = torch.full((len(images), 128), torch.nan)
    found = landmarks.isfinite().all(-1).all(-1).nonzero()[:, 0].tolist()
    if found:
        chips = torch.stack([face_chip(images[frame], landmarks[frame]) for frame in found])
        embeddings[found] = embed_chips(chips)
    return embeddings


def face_chip(image: RgbImage, landmarks: Float[Tensor, "468 3"]) -> Float[Tensor, "3 150 150"]:
    """The upright face in a square of 150 pixels, RGB in [0, 255]; border pixels are repeated outside the picture.

    It uses the similarity that moves eye corners and nose base closest to their places in dlib's mean face.
    """
    places = (torch.tensor(CHIP_PLACES).double() + _CHIP_PADDING) / (1 + 2 * _CHIP_PADDING)
    seen = landmarks[list(CHIP_LANDMARKS), :2].double()
    # As complex numbers a similarity of the plane is picture = a * chip + b: two unknowns, least squares.
    chip, picture = torch.view_as_complex(places), torch.view_as_complex(seen.contiguous())
    turn = ((chip - chip.mean()).conj() * (picture - picture.mean())).sum() / (chip - chip.mean()).abs().square().sum()
    shift = picture.mean() - turn * chip.mean()

    pixels = torch.as_tensor(image).permute(2, 0, 1)[None].float()
    height, width = pixels.shape[-2:]
    reduction = int(abs(complex(turn)) / _CHIP_SIDE)
    if reduction > 1:
        pixels = functional.interpolate(pixels, (-(-height // reduction), -(-width // reduction)), mode="area")
    steps = (torch.arange(_CHIP_SIDE, dtype=torch.float64) + 0.5) / _CHIP_SIDE
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    at = torch.view_as_real(turn * torch.complex(x, y) + shift)
    grid = (2 * at / torch.tensor([width, height]) - 1).float()
    return functional.grid_sample(pixels, grid[None], padding_mode="border", align_corners=False)[0]


@torch.no_grad()
def embed_chips(chips: Float[Tensor, "faces 3 150 150"]) -> Float[Tensor, "faces 128"]:
    """Embeddings of face chips, RGB in [0, 255]."""
    weights = recognition_weights()
    x = (chips - torch.tensor(_MEAN_RGB)[:, None, None]) / 255
    x = functional.max_pool2d(_convolve(x, "conv32_down", weights, stride=2, padding=0).relu(), 3, 2)
    for name in _BLOCKS:
        x = _residual(x, f"conv{name}", weights)
    return x.mean((2, 3)) @ weights["fc"]


def _residual(x: Tensor, name: str, weights: dict[str, Tensor]) -> Tensor:
    """A residual block; if it halves the size, the shortcut is averaged and padded to fit."""
    halving = "down" in name
    y = _convolve(x, f"{name}/conv1", weights, stride=2 if halving else 1, padding=0 if halving else 1).relu()
    y = _convolve(y, f"{name}/conv2", weights, stride=1, padding=1)
    if halving:
        x = functional.avg_pool2d(x, 2)
        channels, rows, columns = (b - a for a, b in zip(x.shape[1:], y.shape[1:], strict=True))
        # The unpadded convolution may be a row and a column short of the short cut, and has more channels.
        y = functional.pad(y, (0, max(-columns, 0), 0, max(-rows, 0)))
        x = functional.pad(x, (0, 0, 0, 0, 0, max(channels, 0)))
    return (x + y).relu()


def _convolve(x: Tensor, name: str, weights: dict[str, Tensor], stride: int, padding: int) -> Tensor:
    """A convolution followed by a scale and an offset for each channel, which replace batch normalisation."""
    y = functional.conv2d(x, weights[f"{name}/conv/filters"], weights[f"{name}/conv/bias"], stride, padding)
    scale, offset = weights[f"{name}/scale/weights"], weights[f"{name}/scale/biases"]
    return y * scale[:, None, None] + offset[:, None, None]


@functools.lru_cache(maxsize=1)
def recognition_weights(manifest: Path = _MANIFEST) -> dict[str, Tensor]:
    """Reads the tensors in a TensorFlow.js manifest, in torch's order of axes; eight-bit ones are scale * byte + min.

    Raises:
        ValueError: if the binary file does not have the length given in the manifest.
    """
    (group,) = json.loads(manifest.read_text("utf8"))
    path = manifest.parent / group["paths"][0]
    content = path.read_bytes()
    lengths = [math.prod(entry["shape"]) * (1 if "quantization" in entry else 4) for entry in group["weights"]]
    if sum(lengths) != len(content):
        raise ValueError(f"{path} has {len(content)} bytes, and {manifest.name} lists {sum(lengths)}")
    weights, at = {}, 0
    for entry, length in zip(group["weights"], lengths, strict=True):
        stored, at, coding = content[at : at + length], at + length, entry.get("quantization")
        if coding is None:
            values = np.frombuffer(stored, "<f4").copy()
        else:
            values = np.frombuffer(stored, np.uint8) * np.float32(coding["scale"]) + np.float32(coding["min"])
        tensor = torch.from_numpy(values).reshape(entry["shape"])
        # Filters are stored rows, columns, in, out.
        weights[entry["name"]] = tensor.permute(3, 2, 0, 1).contiguous() if tensor.ndim == 4 else tensor
    return weights
