"""Maps posed points to canonical points by Broyden's method, as in Fast-SNARF and InstantAvatar.

This is the paper's articulation in plain torch. It is kept for comparison (`articulation="broyden"`): the posed cells
of `snarf.py` find more of the roots, and are faster.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nerfstudio_avatars.instant_avatar.articulation.snarf_weights import WeightVolume

INIT_BONES = (0, 1, 2, 4, 5, 10, 11, 12, 15, 16, 17, 18, 19)
"""InstantAvatar's initial guesses: pelvis, hips, knees, feet, neck, head, shoulders and elbows move rigidly."""


@dataclass(frozen=True)
class TransformGrid:
    """Blended transforms from canonical space to one pose, at the nodes of a weight volume."""

    table: Float[Tensor, "padded_nodes 12"]
    """Rows of 3x4 matrices, z-y-x order, with a border of zero matrices: outside the volume everything is zero."""
    size: tuple[int, int, int]
    """Nodes along x, y, z, without the border."""
    origin: Float[Tensor, "3"]
    spacing: Float[Tensor, "3"]
    joint_transforms: Float[Tensor, "joints 4 4"]

    @classmethod
    def of_pose(cls, volume: WeightVolume, joint_transforms: Float[Tensor, "joints 4 4"]) -> TransformGrid:
        """Blends a pose's transforms at the nodes. Differentiable in the transforms."""
        depth, height, width = volume.weights.shape[1:]
        blended = torch.einsum("jzyx,jc->zyxc", volume.weights, joint_transforms[:, :3].flatten(1))
        table = F.pad(blended, (0, 0, 1, 1, 1, 1, 1, 1)).reshape(-1, 12)
        return cls(table, (width, height, depth), volume.origin, volume.spacing, joint_transforms)

    def contains(self, x_canonical: Float[Tensor, "points 3"]) -> Bool[Tensor, " points"]:
        """Whether points lie inside the volume."""
        node = (x_canonical - self.origin) / self.spacing
        last = node.new_tensor(self.size) - 1
        return ((node >= 0) & (node <= last)).all(-1)

    def transforms(self, x_canonical: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3 4"]:
        """Trilinear blend of the nodes' matrices. Differentiable in the table and in the points."""
        size = torch.tensor(self.size, device=x_canonical.device)
        node = (x_canonical - self.origin) / self.spacing + 1  # counted from the border of zeros
        node = torch.minimum(node.clamp(min=0), (size + 1).to(node))
        first = torch.minimum(node.detach().long(), size)
        high = node - first
        low = 1 - high
        across = torch.stack((low[:, 0], high[:, 0]), -1)[:, None, None, :]
        along = torch.stack((low[:, 1], high[:, 1]), -1)[:, None, :, None]
        deep = torch.stack((low[:, 2], high[:, 2]), -1)[:, :, None, None]
        corner = torch.arange(2, device=x_canonical.device)
        row, slab = self.size[0] + 2, (self.size[0] + 2) * (self.size[1] + 2)
        offsets = (corner[:, None, None] * slab + corner[:, None] * row + corner).flatten()
        base = (first[:, 2] * slab + first[:, 1] * row + first[:, 0])[:, None]
        mixed = F.embedding_bag(
            base + offsets, self.table, per_sample_weights=(deep * along * across).flatten(1), mode="sum"
        )
        return mixed.unflatten(-1, (3, 4))

    def warp(self, x_canonical: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        """Moves canonical points to the pose; zero outside the volume. Differentiable in pose and points."""
        return _apply_affine(self.transforms(x_canonical), x_canonical)


def _apply_affine(
    transforms: Float[Tensor, "points 3 4"], points: Float[Tensor, "points 3"]
) -> Float[Tensor, "points 3"]:
    """Applies one affine map to each point."""
    return (transforms[..., :3] * points[:, None, :]).sum(-1) + transforms[..., 3]


def unpose_in_grid(
    x_posed: Float[Tensor, "points 3"],
    grid: TransformGrid,
    init_bones: tuple[int, ...] = INIT_BONES,
    duplicate_distance: float = 1e-4,
) -> tuple[Float[Tensor, "roots 3"], Int[Tensor, " roots"], Float[Tensor, "roots 3 3"]]:
    """Finds canonical roots of posed points, with one search from each initial guess. Carries no gradient.

    Args:
        x_posed: points in the posed frame of the grid's transforms, in metres.
        grid: the pose, blended once for many calls.
        init_bones: the bones whose rigid inverses are the initial guesses.
        duplicate_distance: distance in metres below which two roots are one, and that of the later guess is kept.

    Returns:
        The valid roots; the point of each, ascending; and the inverse Jacobians that the search held in its last step,
        which are approximate.
    """
    roots, valid, jacobian_inverse = search_roots(x_posed, grid, init_bones)
    return pack_roots(roots, valid & ~later_duplicates(roots, valid, duplicate_distance), jacobian_inverse)


@torch.no_grad()
def search_roots(
    x_posed: Float[Tensor, "points 3"],
    grid: TransformGrid,
    init_bones: tuple[int, ...] = INIT_BONES,
    max_iterations: int = 10,
    converged: float = 1e-5,
    diverged: float = 1e-1,
) -> tuple[Float[Tensor, "points inits 3"], Bool[Tensor, "points inits"], Float[Tensor, "points inits 3 3"]]:
    """The search of `unpose_in_grid`, before duplicates are dropped.

    Args:
        x_posed: points in the posed frame of the grid's transforms, in metres.
        grid: the pose.
        init_bones: the bones whose rigid inverses are the initial guesses.
        max_iterations: Broyden steps before a search is given up.
        converged: residual, in metres, at which a search has succeeded.
        diverged: residual, in metres, beyond which a search is given up.

    Returns:
        The roots, whether each is valid (found inside the volume), and the inverse Jacobians of the last step.
    """
    bones = grid.joint_transforms[list(init_bones)]
    x = (x_posed[:, None, None, :] - bones[:, None, :3, 3]) @ bones[:, :3, :3]  # R^T (x - t), as a row
    shape = (len(x_posed), len(init_bones))
    x = x.reshape(-1, 3)
    roots, valid = x.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
    inverses = torch.zeros(len(x), 3, 3, dtype=x.dtype, device=x.device)

    lane = torch.arange(len(x), device=x.device)
    target = x_posed.repeat_interleave(len(init_bones), dim=0)
    transforms = grid.transforms(x)
    inverse = transforms[..., :3].transpose(1, 2)  # of a near-rotation
    residual = _apply_affine(transforms, x) - target
    for _ in range(max_iterations):
        step = -_matvec(inverse, residual)
        x = x + step
        new_residual = grid.warp(x) - target
        length = new_residual.norm(dim=-1)
        done = length < converged
        roots[lane[done]], inverses[lane[done]] = x[done], inverse[done]
        valid[lane[done]] = grid.contains(x[done])
        going = ((length >= converged) & (length <= diverged)).nonzero()[:, 0]
        inverse = _broyden_update(inverse[going], step[going], (new_residual - residual)[going])
        x, residual, target, lane = x[going], new_residual[going], target[going], lane[going]
        if len(lane) == 0:
            break
    return roots.reshape(*shape, 3), valid.reshape(shape), inverses.reshape(*shape, 3, 3)


def later_duplicates(
    roots: Float[Tensor, "points inits 3"], valid: Bool[Tensor, "points inits"], distance: float
) -> Bool[Tensor, "points inits"]:
    """Marks valid roots that have a later valid root of the same point within `distance` metres."""
    duplicate = torch.zeros_like(valid)
    several = (valid.sum(1) > 1).nonzero()[:, 0]
    some, is_root = roots[several], valid[several]
    for i in range(roots.shape[1] - 1):
        near = (some[:, i + 1 :] - some[:, i : i + 1]).square().sum(-1) < distance**2
        duplicate[several, i] = is_root[:, i] & (near & is_root[:, i + 1 :]).any(1)
    return duplicate


def pack_roots(
    roots: Float[Tensor, "points inits 3"],
    valid: Bool[Tensor, "points inits"],
    jacobian_inverse: Float[Tensor, "points inits 3 3"],
) -> tuple[Float[Tensor, "roots 3"], Int[Tensor, " roots"], Float[Tensor, "roots 3 3"]]:
    """Keeps only valid roots, each with the index of its point (ascending), as `snarf.unpose` returns them."""
    return roots[valid], valid.nonzero()[:, 0], jacobian_inverse[valid]


def _matvec(matrices: Float[Tensor, "n 3 3"], vectors: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    return (matrices * vectors[:, None, :]).sum(-1)


def _broyden_update(
    inverse: Float[Tensor, "n 3 3"], step: Float[Tensor, "n 3"], change: Float[Tensor, "n 3"]
) -> Float[Tensor, "n 3 3"]:
    """Broyden's "good" update, skipped where its denominator vanishes (the paper's code divides by zero there)."""
    row = (step[:, :, None] * inverse).sum(1)
    denominator = (row * change).sum(-1)
    sound = denominator.abs() > 1e-6 * step.square().sum(-1)
    factor = torch.where(sound, 1 / torch.where(sound, denominator, 1), 0)
    return inverse + (step - _matvec(inverse, change))[:, :, None] * (row * factor[:, None])[:, None, :]
