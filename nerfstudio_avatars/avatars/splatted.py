"""A trained person as Gaussian splats on a rigged mesh, fitted to the field's own pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nerfstudio_avatars.avatars.textured import coloured_vertices, field_views
from nerfstudio_avatars.progress import progress_bar

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from nerfstudio_avatars.bodies.body_model import BodyState
    from nerfstudio_avatars.export.rigged_mesh import RiggedMesh
    from nerfstudio_avatars.export.splats import SkinnedSplats, Splats
    from nerfstudio_avatars.instant_avatar.model import InstantAvatarModel

_STEPS = 400


@dataclass(frozen=True)
class SplattedPerson:
    """Splats, and the mesh whose vertices they follow."""

    mesh: RiggedMesh
    colours: Float[np.ndarray, "vertices 3"]
    """Of the mesh, 0 to 1."""
    splats: SkinnedSplats

    def posed(self, model: InstantAvatarModel, pose: BodyState) -> Splats:
        """The splats in a pose, in its axes, metres."""
        return self.splats.posed(self.mesh.moved(model.poses.transforms_of(pose.to(model.device))))


def splatted_person(model: InstantAvatarModel, triangles: int, count: int, picture_size: int) -> SplattedPerson:
    """Makes the mesh and fits splats to it.

    Args:
        model: trained.
        triangles: how many the mesh may have.
        count: number of splats.
        picture_size: pixels along each side of the field's pictures.

    Raises:
        UserError: if there is no surface, because the run was hardly trained.
    """
    from nerfstudio_avatars.export.splat_fit import SplatView, fit_splats

    mesh, colours = coloured_vertices(model, triangles)
    views, moved = [], {}
    for pose, picture, camera in field_views(model, picture_size, "Looking at the avatar"):
        if id(pose) not in moved:
            moved[id(pose)] = mesh.moved(model.poses.transforms_of(pose.to(model.device)))
        views.append(SplatView.cropped(picture, moved[id(pose)], camera))
    with progress_bar("Fitting the splats") as bar:
        splats = fit_splats(mesh, colours, views, count, _STEPS, bar)
    return SplattedPerson(mesh, colours, splats)
