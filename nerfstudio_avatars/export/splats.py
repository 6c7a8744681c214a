"""Gaussian splats that a mesh's skeleton moves, and splats that stand still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfstudio_avatars.export.splat_picture import flattened, picture


@dataclass(frozen=True)
class Splats:
    """Splats of one colour from all sides."""

    centres: Float[Tensor, "splats 3"]
    """Metres."""
    turns: Float[Tensor, "splats 4"]
    """Unit quaternions (w, x, y, z) from a splat's own axes."""
    sizes: Float[Tensor, "splats 3"]
    """Standard deviations along its axes, metres."""
    colours: Float[Tensor, "splats 3"]
    """0 to 1, as displays take them."""
    opacities: Float[Tensor, " splats"]
    """0 to 1."""

    @property
    def axes(self) -> Float[Tensor, "splats 3 3"]:
        """By columns, as long as the standard deviations: covariances are axes @ axes.T."""
        return turned(self.turns) * self.sizes[:, None]

    def moved(self, by: Float[Tensor, "splats 3 4"]) -> Splats:
        """The splats after affine maps, one for each; what is sheared is an ellipsoid again."""
        axes, sizes, _ = torch.linalg.svd((by[..., :3] @ self.axes).double())
        # Mirrored axes span the same ellipsoid.
        axes = axes * torch.linalg.det(axes).sign()[:, None, None]
        centres = (by[..., :3] @ self.centres[..., None])[..., 0] + by[..., 3]
        return Splats(centres, quaternions(axes).float(), sizes.float(), self.colours, self.opacities)

    def draw(self, camera: Cameras) -> Float[Tensor, "height width 4"]:
        """A picture on nothing: premultiplied colours and coverage, 0 to 1."""
        flat = flattened(self.centres, self.axes, self.opacities, camera)
        return picture(flat, self.colours, int(camera.height.flatten()[0]), int(camera.width.flatten()[0]))


@dataclass(frozen=True)
class SkinnedSplats:
    """Splats in the canonical pose of a mesh, each bound to one of its vertices."""

    splats: Splats
    vertices: Int[np.ndarray, " splats"]

    def posed(self, moved: Float[np.ndarray, "vertices 3 4"]) -> Splats:
        """The splats in a pose.

        Args:
            moved: what moves each vertex of the mesh, of `RiggedMesh.moved`.
        """
        return self.splats.moved(torch.from_numpy(moved[self.vertices]))


def turned(quaternions: Float[Tensor, "splats 4"]) -> Float[Tensor, "splats 3 3"]:
    """Rotation matrices of quaternions (w, x, y, z) of any length."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def quaternions(matrices: Float[Tensor, "splats 3 3"]) -> Float[Tensor, "splats 4"]:
    """Unit quaternions (w, x, y, z) of rotation matrices, w not negative."""
    from scipy.spatial.transform import Rotation

    found = Rotation.from_matrix(matrices.detach().numpy()).as_quat()
    found = found * np.where(found[:, 3:] < 0, -1.0, 1.0)
    return torch.from_numpy(np.roll(found, 1, -1)).to(matrices)
