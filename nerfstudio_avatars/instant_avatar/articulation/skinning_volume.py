"""Skinning weights and signed distance on regular grids around a body, computed once per subject."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nerfstudio_avatars.backend import use_numba

_SURFACE_SAMPLES = 200_000
_CORNERS = torch.tensor([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)])


@dataclass(frozen=True)
class Mesh:
    """A body in the canonical pose, in metres."""

    vertices: Float[Tensor, "vertices 3"]
    faces: Int[Tensor, "faces 3"]
    weights: Float[Tensor, "vertices joints"]
    loose: Float[Tensor, " vertices"] | None = None
    """Distance in metres of loose clothes from the body that the band leaves out, at each vertex; None for none."""


def _signed_distance(mesh: Mesh, points: np.ndarray) -> np.ndarray:
    """Distance to the surface in metres, negative inside, to about a millimetre.

    The surface is sampled densely. The sign of a point is that of its offset along the normal of the nearest sample,
    whose tangent plane also gives the distance if the closest point is between samples.
    """
    # Imported here: a finished avatar has its volume already.
    from scipy.spatial import cKDTree

    vertices, faces = mesh.vertices.cpu().double().numpy(), mesh.faces.cpu().numpy()
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(normal, axis=-1)
    normal /= np.maximum(area, 1e-12)[:, None]
    rng = np.random.default_rng(0)
    face = np.repeat(np.arange(len(faces)), np.ceil(area / area.sum() * _SURFACE_SAMPLES).astype(int))
    u, v = rng.random((2, len(face)))
    flip = u + v > 1
    u, v = np.where(flip, 1 - u, u)[:, None], np.where(flip, 1 - v, v)[:, None]
    samples = corners[face, 0] * (1 - u - v) + corners[face, 1] * u + corners[face, 2] * v
    distance, nearest = cKDTree(samples).query(points, workers=-1)
    along = ((points - samples[nearest]) * normal[face[nearest]]).sum(-1)
    spacing = np.sqrt(area.sum() / 2 / len(face))
    value = np.where(distance < 3 * spacing, np.abs(along), distance)
    return np.copysign(value, along).astype(np.float32)


def _smooth(weights: np.ndarray, sweeps: int) -> np.ndarray:
    """Means over the six face neighbours, interior nodes only (factor .7 as in Fast-SNARF's reference)."""
    for _ in range(sweeps):
        inner = weights[1:-1, 1:-1, 1:-1]
        mean = (
            weights[2:, 1:-1, 1:-1]
            + weights[:-2, 1:-1, 1:-1]
            + weights[1:-1, 2:, 1:-1]
            + weights[1:-1, :-2, 1:-1]
            + weights[1:-1, 1:-1, 2:]
            + weights[1:-1, 1:-1, :-2]
        ) / 6
        weights[1:-1, 1:-1, 1:-1] = mean + 0.7 * (inner - mean)
    return weights / weights.sum(-1, keepdims=True)


class SkinningVolume(nn.Module):
    """Skinning weights on the nodes of a regular canonical grid, and its cells near the body.

    Fast-SNARF (Chen et al. 2023), section 3.2, with a finer and far less smoothed grid: the original's 30 sweeps blur
    the weights over centimetres, which spoils new poses.

    Args:
        mesh: the body in its canonical pose.
        spacing: edge length of a cell, in metres.
        band: distance from the body, in metres, beyond which there are no cells.
        margin: distance that the grid extends beyond the box of the body, in metres.
        neighbours: number of vertices to average at a node, by inverse distance.
        sweeps: number of smoothing sweeps.
    """

    origin: Tensor
    cell_index: Tensor
    cells: Tensor
    node_positions: Tensor
    node_weights: Tensor
    distance: Tensor
    distance_cells: Tensor

    def __init__(
        self, mesh: Mesh, spacing: float, band: float, margin: float = 0.12, neighbours: int = 4, sweeps: int = 1
    ) -> None:
        from scipy.spatial import cKDTree

        super().__init__()
        vertices = mesh.vertices.detach().cpu().double().numpy()
        loose = np.zeros(len(vertices)) if mesh.loose is None else mesh.loose.detach().cpu().double().numpy()
        margin += loose.max()
        low, high = vertices.min(0) - margin, vertices.max(0) + margin
        shape = np.ceil((high - low) / spacing).astype(int) + 1
        self.spacing = float(spacing)
        self.band = float(band)
        self.shape = tuple(int(n) for n in shape)
        nodes = low + spacing * np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)

        # Weights: inverse-distance mean of the nearest vertices, lightly smoothed.
        near, index = cKDTree(vertices).query(nodes.reshape(-1, 3), k=neighbours, workers=-1)
        inverse = 1 / np.clip(near, 1e-4, 1.0)
        inverse /= inverse.sum(-1, keepdims=True)
        vertex_weights = mesh.weights.detach().cpu().double().numpy()
        weights = np.zeros((len(inverse), vertex_weights.shape[1]))
        for k in range(neighbours):
            weights += inverse[:, k, None] * vertex_weights[index[:, k]]
        weights = _smooth(weights.reshape(*shape, -1), sweeps)

        # Signed distance on the grid of half the spacing, whose cells are also the occupancy cells.
        fine = low + spacing / 2 * np.stack(np.meshgrid(*(np.arange(2 * n - 1) for n in shape), indexing="ij"), -1)

        def at_fine(values: np.ndarray) -> np.ndarray:
            doubled = np.repeat(np.repeat(np.repeat(values.reshape(*shape), 2, 0), 2, 1), 2, 2)
            return doubled[: fine.shape[0], : fine.shape[1], : fine.shape[2]]

        # Loose clothes count as the body, so that the band begins there.
        dressed = at_fine(loose[index[:, 0]])
        close = at_fine(near[:, 0]) - dressed < band + 3 * spacing + 0.1
        distance = np.full(fine.shape[:3], band + 1.0, np.float32)
        distance[close] = _signed_distance(mesh, fine[close]) - dressed[close]

        # Active cells: any of the 27 fine nodes in them nearer than the band.
        inside = distance < band
        n = [s - 1 for s in shape]
        active = np.zeros(n, bool)
        for i in range(3):
            for j in range(3):
                for k in range(3):
                    active |= inside[i : i + 2 * n[0] : 2, j : j + 2 * n[1] : 2, k : k + 2 * n[2] : 2][
                        : n[0], : n[1], : n[2]
                    ]
        cell_index = torch.from_numpy(np.argwhere(active))
        corner_nodes = cell_index[:, None] + _CORNERS
        flat = (corner_nodes[..., 0] * shape[1] + corner_nodes[..., 1]) * shape[2] + corner_nodes[..., 2]
        used, cells = flat.unique(return_inverse=True)
        self._keep(
            {
                "origin": torch.from_numpy(low).float(),
                "cell_index": cell_index.int(),
                "cells": cells.int(),
                "node_positions": torch.from_numpy(nodes.reshape(-1, 3))[used].float(),
                "node_weights": torch.from_numpy(weights.reshape(-1, weights.shape[-1]))[used].float(),
                "distance": torch.from_numpy(distance),
                "distance_cells": torch.tensor(distance.shape) - 1,
            }
        )

    def _keep(self, buffers: dict[str, Tensor]) -> None:
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer, persistent=False)

    def state(self) -> dict[str, Any]:
        """Tensors and numbers, from which `from_state` has the volume at once: finding distances takes seconds."""
        buffers = {name: buffer.cpu() for name, buffer in self.named_buffers()}
        return {"shape": self.shape, "spacing": self.spacing, "band": self.band, "buffers": buffers}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> SkinningVolume:
        """What `state` described."""
        volume = cls.__new__(cls)
        nn.Module.__init__(volume)
        volume.shape, volume.spacing, volume.band = tuple(state["shape"]), state["spacing"], state["band"]
        # Not the checkpoint's own memory, which is a file.
        volume._keep({name: buffer.clone() for name, buffer in state["buffers"].items()})
        return volume

    def pose_nodes(self, transforms: Float[Tensor, "joints 4 4"]) -> Float[Tensor, "nodes 3"]:
        """Positions of the nodes after linear blend skinning (canonical to posed); differentiable in the transforms."""
        blended = self.node_weights @ transforms[:, :3].flatten(1)
        blended = blended.unflatten(1, (3, 4))
        return (blended[..., :3] @ self.node_positions[..., None])[..., 0] + blended[..., 3]

    def distance_at(self, x_canonical: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        """Signed distance to the naked template in metres, trilinear, differentiable (once) in the position.

        The specification is `_distance_torch`; on the CPU its numba twin runs.
        """
        if use_numba(x_canonical):
            return _DistanceNumba.apply(x_canonical, self.distance, self.origin, self.spacing / 2)
        return self._distance_torch(x_canonical)

    def _distance_torch(self, x_canonical: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        grid = (x_canonical - self.origin) / (self.spacing / 2) / self.distance_cells * 2 - 1
        values = nn.functional.grid_sample(
            self.distance[None, None].to(x_canonical.dtype),
            grid.flip(-1)[None, None, None],
            align_corners=True,
            padding_mode="border",
        )
        return values.flatten()


class _DistanceNumba(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, grid, origin, spacing):
        from nerfstudio_avatars.instant_avatar.articulation import _numba_distance

        value, slope = _numba_distance.distance_and_slope(x, grid, origin, spacing, ctx.needs_input_grad[0])
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return grad[:, None] * ctx.saved_tensors[0], None, None, None
