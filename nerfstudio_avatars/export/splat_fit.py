"""Splats on a mesh whose pictures are most like the field's: started on the surface, improved by gradient descent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfstudio_avatars.export.rigged_mesh import RiggedMesh
from nerfstudio_avatars.export.splat_picture import flattened, picture
from nerfstudio_avatars.export.splats import SkinnedSplats, Splats, quaternions, turned

_WIDE, _FLAT = 0.6, 0.2
"""Standard deviations along the surface and across it at the start, in distances between splats."""
_OPAQUE = 0.8
_RATES = {"centres": 2e-4, "turns": 3e-3, "sizes": 1e-2, "colours": 6e-3, "opacities": 3e-2}
"""Steps of Adam at the start: metres, quaternions, logarithms, colours and logits."""
_SLOWEST = 0.1
"""How much smaller steps are at the end."""
_MARGIN = 8
"""Pixels around a person that are looked at."""


@dataclass(frozen=True)
class SplatView:
    """The part of a picture by the field where the person is, and what moves each vertex of the mesh into its pose."""

    picture: Float[Tensor, "rows columns 4"]
    """Premultiplied colours and accumulation, 0 to 1."""
    corner: Float[Tensor, "2"]
    """Column and row of its first pixel."""
    moved: Float[Tensor, "vertices 3 4"]
    camera: Cameras
    """Of the whole picture."""

    @classmethod
    def cropped(
        cls, picture: Float[np.ndarray, "height width 4"], moved: Float[np.ndarray, "vertices 3 4"], camera: Cameras
    ) -> SplatView:
        """Of a whole picture."""
        seen = picture[..., 3] > 1 / 255
        bounds = []
        for axis in (0, 1):
            place = np.flatnonzero(seen.any(1 - axis))
            first, last = (place[0], place[-1]) if len(place) else (0, 0)
            bounds.append((max(0, first - _MARGIN), last + 1 + _MARGIN))
        (top, bottom), (left, right) = bounds
        part = torch.from_numpy(picture[top:bottom, left:right].copy())
        return cls(part, torch.tensor([float(left), float(top)]), torch.from_numpy(moved), camera)


@torch.enable_grad()
def fit_splats(
    mesh: RiggedMesh,
    start: Float[np.ndarray, "vertices 3"],
    views: Sequence[SplatView],
    count: int,
    steps: int,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> SkinnedSplats:
    """Splats that look as the field does.

    Args:
        mesh: what they are bound to.
        start: a first guess of the colour of each vertex, 0 to 1.
        views: what the field shows.
        count: how many splats.
        steps: how many times they are improved, by one view each.
        progress: is told how many steps are done, and of how many.
    """
    begun = splats_on(mesh, start, count)
    splats, chance = begun.splats, torch.Generator().manual_seed(0)
    wanted = {
        "centres": splats.centres,
        "turns": splats.turns,
        "sizes": splats.sizes.log(),
        "colours": splats.colours,
        "opacities": splats.opacities.logit(),
    }
    wanted = {name: value.clone().requires_grad_() for name, value in wanted.items()}
    groups = [{"params": [value], "lr": _RATES[name]} for name, value in wanted.items()]
    adam = torch.optim.Adam(groups, eps=1e-15)
    slower = torch.optim.lr_scheduler.ExponentialLR(adam, _SLOWEST ** (1 / steps))
    vertices, order = torch.from_numpy(begun.vertices), list[int]()
    for step in range(steps):
        order = order or torch.randperm(len(views), generator=chance).tolist()
        loss = _loss(views[order.pop()], wanted, vertices, torch.rand(3, generator=chance))
        adam.zero_grad()
        loss.backward()
        adam.step()
        slower.step()
        progress(step + 1, steps)
    found = {name: value.detach() for name, value in wanted.items()}
    turns = torch.nn.functional.normalize(found["turns"], dim=-1)
    fitted = Splats(
        found["centres"], turns, found["sizes"].exp(), found["colours"].clamp(0, 1), found["opacities"].sigmoid()
    )
    return SkinnedSplats(fitted, begun.vertices)


def splats_on(mesh: RiggedMesh, colours: Float[np.ndarray, "vertices 3"], count: int) -> SkinnedSplats:
    """Flat splats all over a mesh, bound to the nearest corner of the triangle that they lie in."""
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(across, axis=1) / 2
    face = np.searchsorted(areas.cumsum(), (np.arange(count) + 0.5) / count * areas.sum()).clip(0, len(areas) - 1)
    # A sequence that fills the square evenly, folded into the triangle (Roberts 2018).
    share = np.outer(np.arange(count), [0.7548776662, 0.5698402910]) % 1
    share = np.where(share.sum(1, keepdims=True) > 1, 1 - share, share)
    share = np.concatenate([1 - share.sum(1, keepdims=True), share], 1)
    near = mesh.faces[face, share.argmax(1)]
    normal = across[face] / np.maximum(2 * areas[face, None], 1e-20)
    apart = np.sqrt(areas.sum() / count)
    along = np.cross(normal, np.where(abs(normal[:, :1]) < 0.7, [[1.0, 0, 0]], [[0, 1.0, 0]]))
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    axes = torch.from_numpy(np.stack([along, np.cross(normal, along), normal], -1))
    splats = Splats(
        torch.from_numpy((share[..., None] * corners[face]).sum(1)).float(),
        quaternions(axes).float(),
        torch.tensor([_WIDE, _WIDE, _FLAT]).mul(apart).repeat(count, 1),
        torch.from_numpy((share[..., None] * colours[mesh.faces[face]]).sum(1)).float(),
        torch.full((count,), _OPAQUE),
    )
    return SkinnedSplats(splats, near.astype(np.int64))


def _loss(view: SplatView, wanted: dict[str, Tensor], vertices: Tensor, background: Float[Tensor, "3"]) -> Tensor:
    """Mean squared difference before a background."""
    by = view.moved[vertices]
    axes = by[..., :3] @ (turned(wanted["turns"]) * wanted["sizes"].exp()[:, None])
    centres = (by[..., :3] @ wanted["centres"][..., None])[..., 0] + by[..., 3]
    flat = flattened(centres, axes, wanted["opacities"].sigmoid(), view.camera)
    flat = flat._replace(places=flat.places - view.corner)
    drawn = picture(flat, wanted["colours"], *view.picture.shape[:2])
    apart = drawn - view.picture
    return ((apart[..., :3] - apart[..., 3:] * background) ** 2).mean()
