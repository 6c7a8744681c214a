"""Somebody whom `unsup-volanim` has learnt as a mesh, with a texture that is fitted to the method's own pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nerfstudio_avatars.avatars.driving import still_cameras
from nerfstudio_avatars.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float
    from torch import Tensor

    from nerfstudio_avatars.avatars.textured import TexturedMesh
    from nerfstudio_avatars.export.part_mesh import Triangles
    from nerfstudio_avatars.export.rigged_mesh import RiggedMesh
    from nerfstudio_avatars.export.texture_fit import View
    from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel
    from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

_AROUND = [(30.0 * step, 0.0) for step in range(-6, 6)]
_LIFTED = [(-60.0, 25.0), (0.0, 35.0), (60.0, 25.0), (-40.0, -25.0), (0.0, -35.0), (40.0, -25.0), (180.0, 20.0)]
_MOVED = ((0.0, 0.0), (-30.0, 10.0), (30.0, -10.0))
"""Turns (yaw, pitch, degrees) of the object at rest, and of each pose of the clips, that the texture is fitted to."""
_SILHOUETTES = ((0.0, 0.0), (-45.0, 0.0), (45.0, 0.0), (0.0, 30.0))
_SILHOUETTE_SIDE = 96
_POSES = 6
"""Number of poses of the clips that are looked at: those in which the parts are farthest from where they were."""
_MOST_TEXELS = 1024
"""Along each side of a texture: such volumes show no more."""
_TIMES = 4
"""Largest size of the method's pictures, as a multiple of those of the training."""


@dataclass(frozen=True)
class Look:
    """A pose of the parts, seen by the method's own camera."""

    poses: PartPoses
    """(1, parts)."""
    side: int
    """Of the picture, in pixels."""


def textured_parts(
    model: UnsupVolanimModel,
    cube: Tensor,
    moved: list[PartPoses],
    triangles: int,
    texture_size: int,
    picture_size: int,
    progress: Callable[[int, int], object],
) -> TexturedMesh:
    """Makes the mesh of an identity and fits its texture.

    Args:
        model: trained.
        cube: canonical voxels of the identity.
        moved: poses (1, parts) that the mesh will be shown in.
        triangles: how many there may be.
        texture_size: texels along each side, at most 1024.
        picture_size: pixels along each side of the method's pictures, at most four times those of the training.
        progress: called with the number of pictures drawn, and of all.

    Raises:
        UserError: if there is no surface, because the run was hardly trained.
    """
    from nerfstudio_avatars.avatars.textured import TexturedMesh
    from nerfstudio_avatars.export.part_mesh import colours_at, part_mesh
    from nerfstudio_avatars.export.texture_fit import fit_texture
    from nerfstudio_avatars.unsup_volanim.volumetric_skinning import identity_poses

    network = model.network
    extents = network.scene * network.config.render.enlarge
    rest = identity_poses(1, network.parts, device=model.device)
    try:
        mesh = part_mesh(
            cube, extents, network.scene, network.config.render.skinning, triangles, _likeness(model, cube, rest)
        )
    except ValueError as error:
        raise UserError(f"{error}. Expected a run that was trained for longer.") from error
    side = min(picture_size, _TIMES * model.clips.size)
    turns = [(rest, *turn) for turn in (*_AROUND, *_LIFTED)]
    turns += [(pose, *turn) for pose in _farthest(moved) for turn in _MOVED]
    looks = [
        Look(network.turned(cube, pose, math.radians(yaw), math.radians(pitch)), side) for pose, yaw, pitch in turns
    ]
    start = colours_at(cube, extents, mesh.vertices).astype(float)
    views = _views(model, cube, mesh, looks, progress)
    return TexturedMesh(mesh, fit_texture(mesh, start, views, min(texture_size, _MOST_TEXELS)))


def object_picture(model: UnsupVolanimModel, cube: Tensor, look: Look) -> Float[np.ndarray, "side side 4"]:
    """The method's own picture without what is behind the object: premultiplied colours and accumulation, 0 to 1."""
    import torch

    from nerfstudio_avatars.unsup_volanim.voxel_render import render_voxels, standard_rays

    config = replace(model.network.config.render, background="none", samples=model.config.eval_samples)
    rays = standard_rays(look.side, model.device)
    count = model.config.eval_num_rays_per_chunk
    with torch.no_grad():
        pieces = [
            render_voxels(cube[None], look.poses, rays[start : start + count], config)
            for start in range(0, len(rays), count)
        ]
        seen = torch.cat([torch.cat([piece.rgb[0], piece.accumulation[0, :, None]], -1) for piece in pieces])
    return seen.clamp(0, 1).view(look.side, look.side, 4).cpu().numpy()


def in_world(vertices: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, "vertices 3"]:
    """Points from glTF's axes to those of nerfstudio's world: z up, the object faces +y."""
    import numpy as np

    x, y, z = vertices.T
    return np.stack([-x, z, y], 1)


def posed_parts(mesh: RiggedMesh, poses: PartPoses) -> Float[np.ndarray, "vertices 3"]:
    """The mesh in a pose (1, parts), in nerfstudio's world."""
    from nerfstudio_avatars.export.part_mesh import bones_of

    return in_world(mesh.posed(bones_of(poses)))


def _views(
    model: UnsupVolanimModel,
    cube: Tensor,
    mesh: RiggedMesh,
    looks: list[Look],
    progress: Callable[[int, int], object],
) -> Iterator[View]:
    from nerfstudio_avatars.export.texture_fit import View

    for number, look in enumerate(looks, 1):
        camera = still_cameras(model, 1, look.side)
        yield View(object_picture(model, cube, look), posed_parts(mesh, look.poses), camera)
        progress(number, len(looks))


def _likeness(model: UnsupVolanimModel, cube: Tensor, rest: PartPoses) -> Callable[[Triangles], float]:
    """How like the method's silhouettes at rest those of triangles are: sum of intersections over unions."""
    from nerfstudio_avatars.export.mesh_picture import covered
    from nerfstudio_avatars.export.part_mesh import in_gltf

    camera = still_cameras(model, 1, _SILHOUETTE_SIDE)
    turned = [model.network.turned(cube, rest, math.radians(yaw), math.radians(pitch)) for yaw, pitch in _SILHOUETTES]
    truth = [object_picture(model, cube, Look(poses, _SILHOUETTE_SIDE))[..., 3] > 0.5 for poses in turned]

    def likeness(surface: Triangles) -> float:
        vertices, faces = surface
        total = 0.0
        for poses, wanted in zip(turned, truth, strict=True):
            matrix = in_gltf(poses)[0, 0].numpy()
            found = covered(in_world(vertices @ matrix[:3, :3].T + matrix[:3, 3]), faces, camera)
            total += float((wanted & found).sum() / max((wanted | found).sum(), 1))
        return total

    return likeness


def _farthest(poses: list[PartPoses]) -> list[PartPoses]:
    """Some poses that differ as much as possible, by how the parts lie to each other."""
    import torch

    if len(poses) <= _POSES:
        return poses
    every = [pose.to("cpu") for pose in poses]
    apart = torch.stack([(pose.rotation[:, :1].mT @ pose.rotation)[0].flatten() for pose in every])
    turned = torch.stack([pose.rotation[0, 0].flatten() for pose in every])
    features = torch.cat([3 * apart, turned], -1)
    chosen = [int((features - features.mean(0)).norm(dim=-1).argmax())]
    while len(chosen) < _POSES:
        chosen.append(int(torch.cdist(features, features[chosen]).min(1).values.argmax()))
    return [poses[number] for number in chosen]
