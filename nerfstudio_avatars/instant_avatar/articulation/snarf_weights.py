"""The skinning-weight volume of Fast-SNARF: skinning weights of a body, extended into the space around it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

PAPER_RESOLUTION = (32, 128, 128)
"""Nodes along z, y and x: a standing body is thin, so its depth gets a quarter of the nodes and of the extent."""


class WeightVolume(nn.Module):
    """Skinning weights at the nodes of a canonical grid; the nodes reach the border (align_corners).

    Args:
        weights: axes after the joints: z, y, x. Non-negative, summing to one over the joints.
        origin: position of the first node (x, y, z), in metres.
        spacing: distance between neighbouring nodes along x, y and z, in metres.
    """

    weights: Tensor
    origin: Tensor
    spacing: Tensor

    def __init__(
        self,
        weights: Float[Tensor, "joints depth height width"],
        origin: Float[Tensor, "3"],
        spacing: Float[Tensor, "3"],
    ) -> None:
        super().__init__()
        self.register_buffer("weights", weights, persistent=False)
        self.register_buffer("origin", origin, persistent=False)
        self.register_buffer("spacing", spacing, persistent=False)

    def nodes(self) -> Float[Tensor, "depth height width 3"]:
        """Positions of all nodes, in metres."""
        depth, height, width = self.weights.shape[1:]
        return node_positions((depth, height, width), self.origin, self.spacing)


def node_positions(
    shape: tuple[int, int, int], origin: Float[Tensor, "3"], spacing: Float[Tensor, "3"]
) -> Float[Tensor, "depth height width 3"]:
    """Positions of a grid's nodes, from its shape along z, y, x."""
    axes = [torch.arange(n, dtype=origin.dtype, device=origin.device) for n in shape]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return origin + torch.stack((x, y, z), dim=-1) * spacing


def paper_weight_volume(
    vertices: Float[Tensor, "vertices 3"],
    weights: Float[Tensor, "vertices joints"],
    resolution: tuple[int, int, int] = PAPER_RESOLUTION,
    neighbours: int = 30,
    sweeps: int = 30,
) -> WeightVolume:
    """Spreads the weights of the skin into a box around the canonical body, as InstantAvatar does.

    The box is centred on the bounding box of the vertices; half its side is 1.2 times half the largest extent, and a
    quarter of that along z. Each node takes the inverse-distance mean of its nearest vertices; sweeps of diffusion
    follow.

    Args:
        vertices: the skin in the canonical pose, in metres.
        weights: its skinning weights.
        resolution: nodes along z, y, x.
        neighbours: nearest vertices that a node averages.
        sweeps: number of smoothing sweeps. Each adds a variance of 0.1 spacing^2 per axis, so coarser grids need fewer.
    """
    low, high = vertices.amin(0), vertices.amax(0)
    half = (high - low).max() / 2 * 1.2 * vertices.new_tensor([1.0, 1.0, 0.25])
    origin = (low + high) / 2 - half
    depth, height, width = resolution
    spacing = 2 * half / (vertices.new_tensor([width, height, depth]) - 1)
    nodes = node_positions(resolution, origin, spacing)
    spread = inverse_distance_weights(nodes.reshape(-1, 3), vertices, weights, neighbours)
    return WeightVolume(smooth(spread.T.reshape(-1, *resolution).contiguous(), sweeps), origin, spacing)


def inverse_distance_weights(
    points: Float[Tensor, "points 3"],
    vertices: Float[Tensor, "vertices 3"],
    weights: Float[Tensor, "vertices joints"],
    neighbours: int,
) -> Float[Tensor, "points joints"]:
    """Mean weights of the nearest vertices, by inverse distance (clamped to 0.1 mm .. 1 m)."""
    from scipy.spatial import cKDTree

    tree = cKDTree(vertices.detach().cpu().double().numpy())
    distances, indices = tree.query(points.detach().cpu().double().numpy(), k=neighbours, workers=-1)
    influence = 1 / torch.from_numpy(distances).to(weights).clamp(1e-4, 1.0)
    influence = influence / influence.sum(-1, keepdim=True)
    index = torch.from_numpy(indices).to(weights.device)
    return torch.nn.functional.embedding_bag(index, weights, per_sample_weights=influence, mode="sum")


def smooth(
    weights: Float[Tensor, "joints depth height width"], sweeps: int, keep: float = 0.7
) -> Float[Tensor, "joints depth height width"]:
    """Diffuses the interior nodes towards the mean of their six neighbours and normalises, `sweeps` times."""
    weights = weights.clone()
    inner, before, after = slice(1, -1), slice(None, -2), slice(2, None)
    for _ in range(sweeps):
        mean = weights[:, before, inner, inner] + weights[:, after, inner, inner]
        mean += weights[:, inner, before, inner] + weights[:, inner, after, inner]
        mean += weights[:, inner, inner, before] + weights[:, inner, inner, after]
        mean /= 6
        centre = weights[:, inner, inner, inner]
        centre.copy_(torch.lerp(mean, centre, keep))
        weights /= weights.sum(0, keepdim=True)
    return weights
