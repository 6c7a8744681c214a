"""The canonical radiance field: hash grid, density and colour networks, without view or pose (InstantAvatar)."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from nerfstudio_avatars.backend import use_triton
from nerfstudio_avatars.instant_avatar.field.hash_grid import hash_encode, hash_encode_torch
from nerfstudio_avatars.instant_avatar.field.hash_grid_layout import HashGridLayout


@dataclass
class HashFieldConfig:
    """Options of the canonical field."""

    levels: int = 16
    """Number of levels in the hash grid, with two features each; more levels resolve finer detail but are slower."""
    log2_table_size: int = 19
    """Maximum number of entries in a level, given as a power of two.
    Tables that fit the processor's cache are several times faster."""
    base_resolution: int = 16
    """Number of cells to divide the canonical cube's side into at the coarsest level."""
    per_level_scale: float = 1.5
    """Factor that the resolution grows by from one level to the next."""
    width: int = 64
    """Number of neurons to use in each hidden layer."""
    geometry_features: int = 15
    """Number of features that are passed from the density network to the colour network."""
    implementation: Literal["auto", "torch", "tcnn"] = "auto"
    """Hash encoding to use: `auto` takes the package's kernels (numba on the CPU, Triton on CUDA).
    The others are `torch`, which is plain and slow, and `tcnn`, which needs tiny-cuda-nn."""
    mixed_precision: bool = True
    """Whether to run the networks in bfloat16, at no measured loss of quality.
    It is turned off on CPUs without bfloat16 units."""


_ROWS = 1024
"""On the CPU, numbers of points are padded to multiples of this: oneDNN compiles a product for every new size, which
took longer than the products themselves in training, where sizes vary from step to step."""
_WIDEST_FUSED = 64
"""Widest layer whose activations the fused kernel can hold in registers."""


class HashField(nn.Module):
    """Density and colour of canonical points.

    Args:
        config: the options of the field.
        centre: centre of the canonical cube, in metres.
        half_size: half of its edge length, in metres.
    """

    centre: Tensor
    half_size: Tensor
    level_weights: Tensor

    def __init__(self, config: HashFieldConfig, centre: Float[Tensor, "3"], half_size: float) -> None:
        super().__init__()
        self.config = config
        self.layout = HashGridLayout.build(
            config.levels, config.base_resolution, config.per_level_scale, config.log2_table_size
        )
        self.register_buffer("centre", centre.float().clone())
        self.register_buffer("half_size", torch.tensor(float(half_size)))
        self.register_buffer("level_weights", torch.ones(2 * config.levels), persistent=False)
        self.table = nn.Parameter(torch.empty(self.layout.entries, 2).uniform_(-1e-4, 1e-4))
        # In a tuple, so that its own parameters are not registered: tiny-cuda-nn reads our table.
        self._tcnn = (_tcnn_encoding(config),) if config.implementation == "tcnn" else ()
        self.density_network = _network([2 * config.levels, config.width, 1 + config.geometry_features])
        self.colour_network = _network([config.geometry_features, config.width, config.width, 3])

    def open_levels(self, levels: float) -> None:
        """Fades out levels beyond `levels`, for training from coarse to fine (BARF's schedule, linear within a
        level)."""
        index = torch.arange(self.config.levels, device=self.level_weights.device)
        self.level_weights.copy_((levels - index).clamp(0, 1).repeat_interleave(2))

    def density(
        self, x_canonical: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points g"]]:
        """Raw density (no activation) and geometry features."""
        x = self._unit(x_canonical)
        if self._tcnn:
            features = torch.func.functional_call(self._tcnn[0], {"params": self.table.flatten()}, (x,)).float()
        else:
            encode = hash_encode_torch if self.config.implementation == "torch" else hash_encode
            features = encode(x, self.table, self.layout)
        # Closed levels are left out by the first layer: cheaper than a product with all features.
        hidden = self._run(self.density_network, features, self.level_weights)
        return hidden[:, 0].float(), hidden[:, 1:]

    def colour(self, geometry: Float[Tensor, "points g"]) -> Float[Tensor, "points 3"]:
        """RGB in [0, 1]."""
        return torch.sigmoid(self._run(self.colour_network, geometry).float())

    @torch.no_grad()
    def infer(
        self, x_canonical: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points 3"]]:
        """Raw density and RGB without gradient (specification: `density`, then `colour`; Triton twin on CUDA).

        The twin passes over the points once and computes in float32, even if `mixed_precision` is on.
        """
        if self._is_fused(x_canonical):
            from nerfstudio_avatars.instant_avatar.field import _triton_infer

            return _triton_infer.infer(self, self._unit(x_canonical))
        raw, geometry = self.density(x_canonical)
        return raw, self.colour(geometry)

    @torch.no_grad()
    def infer_density(self, x_canonical: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        """Raw density only, as in `infer`."""
        if self._is_fused(x_canonical):
            from nerfstudio_avatars.instant_avatar.field import _triton_infer

            return _triton_infer.infer_density(self, self._unit(x_canonical))
        return self.density(x_canonical)[0]

    def _is_fused(self, x: Tensor) -> bool:
        widest = max(self.config.width, 1 + self.config.geometry_features)
        return self.config.implementation == "auto" and widest <= _WIDEST_FUSED and use_triton(x)

    def _unit(self, x_canonical: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        """Positions in the unit cube; those outside are clamped to it."""
        return ((x_canonical - self.centre) / (2 * self.half_size) + 0.5).clamp(0, 1)

    def _run(
        self, network: nn.Sequential, x: Float[Tensor, "points in"], input_weights: Tensor | None = None
    ) -> Float[Tensor, "points out"]:
        """Runs a network whose inputs are multiplied by weights."""
        points = len(x)
        first, *others = (layer.weight for layer in network if isinstance(layer, nn.Linear))
        if input_weights is not None:
            first = first * input_weights
        with self._precision(x):
            if x.device.type == "cpu" and points > _ROWS:
                x = F.pad(x, (0, 0, 0, -points % _ROWS))
            x = F.linear(x, first)
            for weight in others:
                x = F.linear(x.relu_(), weight)
        return x[:points]

    def _precision(self, x: Tensor) -> contextlib.AbstractContextManager[None]:
        fast = x.device.type == "cuda" or (x.device.type == "cpu" and _cpu_has_bfloat16())
        if self.config.mixed_precision and fast:
            return torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False)
        return contextlib.nullcontext()


def _network(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in zip(widths[:-1], widths[1:], strict=True):
        linear = nn.Linear(a, b, bias=False)
        nn.init.xavier_uniform_(linear.weight)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _cpu_has_bfloat16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported())


def _tcnn_encoding(config: HashFieldConfig) -> nn.Module:
    try:
        import tinycudann
    except ImportError as error:
        raise ImportError(
            'implementation="tcnn" needs the package tinycudann, which cannot be imported. Install it as its project '
            'describes, or use implementation="auto", which needs no compiler.'
        ) from error
    return tinycudann.Encoding(
        3,
        {
            "otype": "HashGrid",
            "n_levels": config.levels,
            "n_features_per_level": 2,
            "log2_hashmap_size": config.log2_table_size,
            "base_resolution": config.base_resolution,
            "per_level_scale": config.per_level_scale,
        },
    )
