"""Generates the canonical voxel cube of an identity: skinning logits, colour, density."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nerfstudio_avatars.unsup_volanim.sparse_rows import CodeRows

COLOURS, DENSITIES = 3, 1


class IdentityEmbedding(nn.Module):
    """One code per identity, whitened over all of them, so that a new identity can be drawn from N(0, I).

    Unsupervised Volumetric Animation, section 3.1: rows are centred and multiplied by the inverse Cholesky factor of
    their covariance, shrunk a little towards the identity.

    Args:
        sparse: learn only the rows that a step draws (see `CodeRows`). Whitened codes are the same. Their gradient is
            the same for these rows, and left out for all others, which it reaches through mean and covariance alone.
    """

    def __init__(self, identities: int, size: int, shrink: float = 1e-3, sparse: bool = False) -> None:
        super().__init__()
        self.rows = CodeRows(identities, size) if sparse else None
        if not sparse:
            self.table = nn.Parameter(torch.randn(identities, size))
        self._shrink = shrink

    def forward(self, identities: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch size"]:
        """Whitened codes. Unless the table is sparse, their gradient reaches every row of it."""
        if self.rows is None:
            mean = self.table.mean(0)
            centred = self.table - mean
            covariance = centred.mT @ centred / max(len(self.table) - 1, 1)
            rows = self.table[identities]
        else:
            drawn, places = self.rows.drawn(identities.reshape(-1))
            mean, covariance = self.rows.moments(drawn)
            rows = drawn[places].reshape(*identities.shape, -1)
        eye = torch.eye(len(mean), device=mean.device)
        factor = torch.linalg.cholesky((1 - self._shrink) * covariance + self._shrink * eye)
        flat = (rows - mean).reshape(-1, rows.shape[-1])
        return torch.linalg.solve_triangular(factor, flat.mT, upper=False).mT.reshape(rows.shape)


@dataclass
class VoxelGeneratorConfig:
    """Options of the decoder from codes to voxels."""

    code_size: int = 64
    """Number of values that the code of an identity has."""
    widths: tuple[int, ...] = (512, 256, 128, 64, 32)
    """Numbers of channels to use at each resolution, from 4^3 upwards.
    Each further entry doubles the resolution, so that five give 64^3."""
    norm: str = "batch"
    """Normalisation to use: `batch`, as in the paper, or `group`, which suits batches with few identities."""
    same_blocks: int = 0
    """Number of residual blocks to add at each resolution; the large model of the published code has 2."""
    attention_levels: int = 0
    """Number of levels, from 8^3 upwards, to follow by self-attention; the large model of the published code has 2."""
    density_scale: float = 1.0
    """Factor to multiply the density channel by."""
    first_colour: float = 0.5
    """Colour value that everything has before training, from 0 to 1."""
    coarse_outputs: bool = False
    """Whether every resolution adds its own voxels to the cube, coarse to fine, instead of the last one alone."""
    doublings: int = 0
    """Number of times to double the resolution of the finished cube by interpolation.
    Volumes of the identities' own (`network.detail`) have the finer voxels, which costs less than convolutions."""

    @property
    def resolution(self) -> int:
        """Number of voxels along an edge of a cube."""
        return 4 * 2 ** (len(self.widths) - 1 + self.doublings)


class VoxelGenerator(nn.Module):
    """3D convolutions from a code to a cube, whose channels are part logits, RGB and density, without activations.

    Unsupervised Volumetric Animation, section 3.2.
    """

    def __init__(self, config: VoxelGeneratorConfig, parts: int) -> None:
        super().__init__()
        self.config, self.parts = config, parts
        widths = config.widths
        self.entry = nn.Linear(config.code_size, widths[0] * 4**3)
        self.levels = nn.ModuleList()
        for level, (wide, narrow) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
            blocks: list[nn.Module] = [_ResidualBlock(wide, narrow, config.norm, grow=True)]
            blocks += [_ResidualBlock(narrow, narrow, config.norm) for _ in range(config.same_blocks)]
            if level < config.attention_levels:
                blocks.append(_SelfAttention(narrow, config.norm))
            self.levels.append(nn.Sequential(*blocks))
        channels = parts + COLOURS + DENSITIES
        heads = widths[1:] if config.coarse_outputs else widths[-1:]
        self.heads = nn.ModuleList(
            nn.Sequential(_norm(config.norm, width), nn.Conv3d(width, channels, 3, padding=1)) for width in heads
        )
        if config.coarse_outputs:
            for convolution in self.head_convolutions()[1:]:
                nn.init.zeros_(convolution.weight)
                nn.init.zeros_(bias_of(convolution))
        # With few channels convolutions on a CPU are up to six times faster when a voxel's channels lie together.
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        with torch.no_grad():
            bias_of(self.head_convolutions()[0])[parts : parts + COLOURS] = config.first_colour

    def head_convolutions(self) -> list[nn.Conv3d]:
        """The last layer of each resolution's head; its first rows are the parts' logits."""
        return [layer for head in self.heads for layer in head.children() if isinstance(layer, nn.Conv3d)]

    def norms(self) -> list[nn.Module]:
        """The layer before that."""
        return [next(iter(head.children())) for head in self.heads]

    def forward(
        self, codes: Float[Tensor, "batch size"], levels: int | None = None, first: int = 0
    ) -> Float[Tensor, "batch channels n n n"]:
        """Cubes, indexed (z, y, x).

        Args:
            levels: stop after this many doublings; only if every resolution has its own output.
            first: number of channels to leave out at the start.
        """
        if len(codes) == 1 and codes.device.type == "cpu":
            # torch sends small convolutions of a single cube to a slow kernel: two cubes take a quarter of its time.
            return self(codes.expand(2, -1), levels, first)[:1]
        x = self.entry(codes).unflatten(1, (-1, 4, 4, 4)).contiguous(memory_format=torch.channels_last_3d)
        cube: Tensor | None = None
        for level, blocks in enumerate(self.levels[: levels or len(self.levels)]):
            x = blocks(x)
            head = len(self.heads) - len(self.levels) + level
            if head >= 0:
                convolution = self.head_convolutions()[head]
                weight, bias = convolution.weight[first:], bias_of(convolution)[first:]
                seen = F.conv3d(self.norms()[head](x), weight, bias, padding=1)
                cube = seen + (0 if cube is None else doubled(cube))
        assert cube is not None
        for _ in range(0 if levels else self.config.doublings):
            cube = doubled(cube)
        scale = cube.new_ones(cube.shape[1])
        scale[-1] = self.config.density_scale
        return cube * scale[:, None, None, None]


class _ResidualBlock(nn.Module):
    """A block with ReLU before the norm, as in the published code; doubles the resolution by repeating voxels.

    Operations that treat all voxels alike are done before repeating, which gives the same result for an eighth of the
    work.
    """

    def __init__(self, wide: int, narrow: int, norm: str, grow: bool = False) -> None:
        super().__init__()
        self.skip = nn.Conv3d(wide, narrow, 1) if grow else nn.Identity()
        self.norm1, self.norm2 = _norm(norm, wide), _norm(norm, narrow)
        self.conv1, self.conv2 = nn.Conv3d(wide, narrow, 3, padding=1), nn.Conv3d(narrow, narrow, 3, padding=1)
        self.grow = grow

    def forward(self, x: Tensor) -> Tensor:
        skip, main = self.skip(x), self.norm1(F.relu(x))
        if self.grow:
            skip, main = (F.interpolate(y, scale_factor=2, mode="nearest") for y in (skip, main))
        return skip + self.conv2(self.norm2(F.relu(self.conv1(main))))


class _SelfAttention(nn.Module):
    """Single-head attention over all voxels."""

    def __init__(self, width: int, norm: str) -> None:
        super().__init__()
        self.norm = _norm(norm, width)
        self.query_key_value, self.out = nn.Conv3d(width, 3 * width, 1), nn.Conv3d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.query_key_value(self.norm(x)).flatten(2).mT
        mixed = F.scaled_dot_product_attention(*tokens.chunk(3, -1))
        return x + self.out(mixed.mT.reshape(x.shape))


def doubled(cube: Float[Tensor, "batch channels n n n"]) -> Float[Tensor, "batch channels m m m"]:
    """Trilinear interpolation with aligned corners; products with a matrix take a third of torch's time for it."""
    n = cube.shape[-1]
    eye = torch.eye(n, device=cube.device, dtype=cube.dtype)
    matrix = F.interpolate(eye[:, None], 2 * n, mode="linear", align_corners=True)[:, 0].mT
    planes = matrix @ (cube @ matrix.mT)
    return (matrix @ planes.flatten(-2)).unflatten(-1, planes.shape[-2:])


def _norm(kind: str, width: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm3d(width)
    return nn.GroupNorm(math.gcd(width, 8), width)


def ellipsoid_prior(resolution: int, radii: Float[Tensor, "3"], slope: float) -> Float[Tensor, "n n n"]:
    """Density before activation that fills an ellipsoid in the middle: slope * radius * (1 - distance).

    Args:
        radii: along x, y and z, in half cubes; distances are relative to them.
    """
    axis = torch.linspace(-1, 1, resolution)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    distance = ((x / radii[0]).square() + (y / radii[1]).square() + (z / radii[2]).square()).sqrt()
    return slope * float(radii.mean()) * (1 - distance)


def bias_of(layer: nn.Conv3d) -> Tensor:
    """The bias of a layer that has one."""
    assert layer.bias is not None
    return layer.bias
