"""The slow truth about a pose: canonical roots by many damped Newton searches, in float64.

Tests and benchmarks measure the fast searches with it. It shares no code with them: it searches the whole piecewise map
from many starts around a point, where `snarf.unpose` inverts cell after cell.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import SkinningVolume

_CONVERGED = 1e-8
_SAME_ROOT = 1e-3


class DenseSearch:
    """Roots of one posed skinning volume.

    Args:
        volume: the canonical cells.
        joint_transforms: canonical -> posed.
        nearest: starts at the canonical places of this many posed nodes around a point (the bones are added).
        iterations: Newton steps, each halved until it improves.
    """

    def __init__(
        self,
        volume: SkinningVolume,
        joint_transforms: Float[Tensor, "joints 4 4"],
        nearest: int = 96,
        iterations: int = 30,
    ) -> None:
        self.transforms = joint_transforms.double()
        self.canonical = volume.node_positions.double()
        blended = (volume.node_weights.double() @ self.transforms[:, :3].flatten(1)).unflatten(1, (3, 4))
        self.posed = (blended[..., :3] @ self.canonical[..., None])[..., 0] + blended[..., 3]
        self.origin, self.spacing = volume.origin.double(), volume.spacing
        self.corners = volume.cells.long()
        self.shape = torch.tensor(volume.shape, device=self.corners.device) - 1
        self.row = torch.full(tuple(self.shape.tolist()), -1, dtype=torch.long, device=self.corners.device)
        self.row[tuple(volume.cell_index.long().T)] = torch.arange(len(self.corners), device=self.corners.device)
        self.nearest, self.iterations = nearest, iterations

    def forward(
        self, x_canonical: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, "points 3"], Float[Tensor, "points 3 3"]]:
        """The forward map and its Jacobian; infinite outside the active cells."""
        at = (x_canonical - self.origin) / self.spacing
        cell = at.floor().long()
        inside = ((cell >= 0) & (cell < self.shape)).all(-1)
        cell = torch.where(inside[:, None], cell, 0)
        row = self.row[tuple(cell.T)]
        inside &= row >= 0
        u = (at - cell)[:, None, :]
        bit = torch.tensor([[c & 1, c >> 1 & 1, c >> 2 & 1] for c in range(8)], device=u.device)
        side = torch.where(bit == 1, u, 1 - u)  # (points, corners, axes)
        slope = torch.where(bit == 1, 1.0, -1.0).to(u) / self.spacing
        values = self.posed[self.corners[row]]
        image = (side.prod(-1)[..., None] * values).sum(1)
        gradients = torch.stack(
            [slope[:, a] * side[..., (a + 1) % 3] * side[..., (a + 2) % 3] for a in range(3)], dim=-1
        )
        jacobian = values.transpose(1, 2) @ gradients
        return torch.where(inside[:, None], image, torch.inf), jacobian

    def roots(self, x_posed: Float[Tensor, "points 3"]) -> tuple[Float[Tensor, "roots 3"], Int[Tensor, "roots"]]:
        """All roots found, each once, and the index of its point (ascending)."""
        x_posed = x_posed.double()
        distance = torch.cdist(x_posed, self.posed)
        starts = self.canonical[distance.topk(self.nearest, largest=False).indices] + 0.25 * self.spacing
        rotation, translation = self.transforms[:, :3, :3], self.transforms[:, :3, 3]
        rigid = torch.einsum("jba,njb->nja", rotation, x_posed[:, None] - translation)
        starts = torch.cat((starts, rigid), dim=1)
        target = x_posed[:, None].expand_as(starts)
        found, converged = self._newton(starts.reshape(-1, 3), target.reshape(-1, 3))
        found, converged = found.reshape(starts.shape), converged.reshape(starts.shape[:2])
        near = torch.cdist(found, found) < _SAME_ROOT
        earlier = torch.ones_like(near[0]).tril(-1)
        new = converged & ~(near & earlier & converged[:, None, :]).any(-1)
        return found[new], new.nonzero()[:, 0]

    def _newton(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        result, done = x.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
        lane = torch.arange(len(x), device=x.device)
        image, jacobian = self.forward(x)
        damping = torch.ones(len(x), dtype=x.dtype, device=x.device)
        alive = image.isfinite().all(-1)
        for _ in range(self.iterations):
            x, target, lane, image, jacobian, damping = (
                value[alive] for value in (x, target, lane, image, jacobian, damping)
            )
            residual = image - target
            inverse, singular = torch.linalg.inv_ex(jacobian)
            step = -(inverse @ residual[..., None])[..., 0]
            limit = (2 * self.spacing / step.norm(dim=-1)).clamp(max=1)
            trial = x + step * (damping * limit)[:, None]
            trial_image, trial_jacobian = self.forward(trial)
            better = (trial_image - target).norm(dim=-1) < residual.norm(dim=-1)
            x = torch.where(better[:, None], trial, x)
            image = torch.where(better[:, None], trial_image, image)
            jacobian = torch.where(better[:, None, None], trial_jacobian, jacobian)
            damping = torch.where(better, (2 * damping).clamp(max=1), damping / 2)
            finished = (image - target).norm(dim=-1) < _CONVERGED
            result[lane[finished]] = x[finished]
            done[lane[finished]] = True
            alive = ~finished & (singular == 0) & (damping > 1e-3)
        return result, done
