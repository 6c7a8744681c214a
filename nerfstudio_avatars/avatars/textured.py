"""A trained person as a rigged mesh, with a texture that is fitted to the field's own pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nerfstudio_avatars.avatars.film import Shot, cameras_around
from nerfstudio_avatars.bodies.body_model import JOINT_NAMES
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.progress import progress_bar

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, UInt8
    from nerfstudio.cameras.cameras import Cameras

    from nerfstudio_avatars.bodies.body_model import BodyModel, BodyState
    from nerfstudio_avatars.export.rigged_mesh import RiggedMesh
    from nerfstudio_avatars.instant_avatar.model import InstantAvatarModel

_POSES = (("run", 0.2), ("run", 0.7), ("cartwheel", 0.45), ("crawl", 0.5))
"""Shipped motions, and the moment of each (0 to 1) that is looked at besides the video's own pose: arms and legs apart
show what they hide at rest."""
_AROUND, _LIFTED = 12, 6
"""Views of the video's pose at the height of the eyes, and from above and below each."""
_PORTRAITS, _PORTRAIT_LIFT, _HEAD_RADIUS = 10, 15.0, 0.2
"""Views of the head in that pose; degrees that they are raised and lowered by in turn; metres around its middle."""


@dataclass(frozen=True)
class TexturedMesh:
    """A mesh and its texture."""

    mesh: RiggedMesh
    texture: Float[np.ndarray, "size size 3"]
    """0 to 1."""

    def pixels(self) -> UInt8[np.ndarray, "size size 3"]:
        """The texture in 8 bits."""
        return (self.texture * 255).round().astype("uint8")


def textured_mesh(model: InstantAvatarModel, triangles: int, texture_size: int, picture_size: int) -> TexturedMesh:
    """Makes the mesh and fits its texture.

    Args:
        model: trained.
        triangles: how many there may be.
        texture_size: texels along each side.
        picture_size: pixels along each side of the field's pictures.

    Raises:
        UserError: if there is no surface, because the run was hardly trained.
    """
    from nerfstudio_avatars.export.texture_fit import View, fit_texture

    mesh, start = coloured_vertices(model, triangles)
    views = (
        View(picture, posed_vertices(model, mesh, pose), camera)
        for pose, picture, camera in field_views(model, picture_size, "Fitting the texture")
    )
    return TexturedMesh(mesh, fit_texture(mesh, start, views, texture_size))


def coloured_vertices(model: InstantAvatarModel, triangles: int) -> tuple[RiggedMesh, Float[np.ndarray, "vertices 3"]]:
    """The mesh, and the field's colour at each of its vertices, 0 to 1.

    Raises:
        UserError: if there is no surface, because the run was hardly trained.
    """
    import torch

    from nerfstudio_avatars.export.rigged_mesh import rigged_mesh

    try:
        mesh = rigged_mesh(model.avatar, triangles)
    except ValueError as error:
        raise UserError(f"{error}. Expected a run that was trained for longer.") from error
    places = torch.from_numpy(mesh.vertices).to(model.device)
    return mesh, model.avatar.field.infer(places)[1].cpu().double().numpy()


def _looked_at(model: InstantAvatarModel, size: int) -> list[tuple[BodyState, Cameras]]:
    """Poses, and the cameras that look at each."""
    from nerfstudio_avatars.motion.loading import choose_motion

    video, body = model.person.motion, model.person.body
    rest = model.poses.state(int(model.person.train_frames[0])).to("cpu")
    looks = [(rest, 360 / _AROUND * n, 0.0) for n in range(_AROUND)]
    looks += [(rest, 360 / _LIFTED * n + turn, lift) for lift, turn in ((40.0, 0), (-35.0, 30)) for n in range(_LIFTED)]
    for place, (name, moment) in enumerate(_POSES):
        pose = choose_motion(name, video, body).at(moment)
        looks += [(pose, 60.0 * n + 15 * place, 20.0 * (-1) ** n) for n in range(6)]
    shots = ((pose, Shot(azimuth=turn, elevation=lift, height=size, width=size)) for pose, turn, lift in looks)
    return [(pose, cameras_around(body, [pose], shot)) for pose, shot in shots] + _portraits(body, rest, size)


def _portraits(body: BodyModel, pose: BodyState, size: int) -> list[tuple[BodyState, Cameras]]:
    """Cameras close to the head: of the whole body's pictures, a face is a few pixels only."""
    import torch

    from nerfstudio_avatars.avatars import cameras

    posed = body.pose(pose)
    neck, head = (posed.joints[JOINT_NAMES.index(name)].detach().cpu() for name in ("neck", "head"))
    # The joint lies at the root of the skull; the way from the neck goes on to its middle.
    middle = head + (head - neck) / (head - neck).norm() * _HEAD_RADIUS / 2
    focal = cameras.focal_length(_HEAD_RADIUS, size, size)
    turns = torch.arange(_PORTRAITS) / _PORTRAITS * 2 * math.pi
    lifts = [math.radians(_PORTRAIT_LIFT) * (-1) ** n for n in range(_PORTRAITS)]
    views = [cameras.orbit(middle[None], turn[None], lift) for turn, lift in zip(turns, lifts, strict=True)]
    return [(pose, cameras.cameras(view, focal, size, size)) for view in views]


def field_views(
    model: InstantAvatarModel, size: int, doing: str
) -> Iterator[tuple[BodyState, Float[np.ndarray, "height width 4"], Cameras]]:
    """The field's pictures that exports are fitted to: poses, pictures of `field_picture`, and cameras.

    Args:
        model: trained.
        size: pixels along each side.
        doing: what the progress bar says.
    """
    looks = _looked_at(model, size)
    with progress_bar(doing) as bar:
        for number, (pose, camera) in enumerate(looks):
            yield pose, field_picture(model, pose, camera), camera
            bar(number + 1, len(looks))


def field_picture(model: InstantAvatarModel, pose: BodyState, camera: Cameras) -> Float[np.ndarray, "height width 4"]:
    """The field's own picture: premultiplied colours and accumulation, 0 to 1."""
    import torch

    outputs = model.render_pose(camera, pose)
    return torch.cat([outputs["premultiplied"], outputs["accumulation"]], -1).clamp(0, 1).cpu().numpy()


def posed_vertices(model: InstantAvatarModel, mesh: RiggedMesh, pose: BodyState) -> Float[np.ndarray, "vertices 3"]:
    """The mesh in a pose, in the world frame, metres."""
    return mesh.posed(model.poses.transforms_of(pose.to(model.device)))
