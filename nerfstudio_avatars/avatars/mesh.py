"""Coloured triangle meshes, and the files they are written to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, UInt8

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.whole_files import whole_file

if TYPE_CHECKING:
    from nerfstudio_avatars.bodies.body_model import BodyState
    from nerfstudio_avatars.instant_avatar.model import InstantAvatarModel
    from nerfstudio_avatars.instant_avatar.surface import Surface

__all__ = ["ColouredMesh"]


@dataclass(frozen=True)
class ColouredMesh:
    """Triangles with a colour at each corner.

    >>> corners = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    >>> mesh = ColouredMesh(corners, np.int32([[0, 1, 2]]), np.uint8([[255, 0, 0]] * 3))
    >>> mesh.save("triangle.obj").read_text().splitlines()[-1]
    'f 1 2 3'
    """

    vertices: Float[np.ndarray, "vertices 3"]
    """Positions in metres; z is up in the world frame."""
    faces: Int[np.ndarray, "faces 3"]
    """Indices of vertices, counter-clockwise from outside."""
    colours: UInt8[np.ndarray, "vertices 3"]
    """RGB, 8 bits."""

    def save(self, path: str | Path) -> Path:
        """Writes a Wavefront file (.obj) or a Stanford file (.ply), both with colours at the vertices.

        Args:
            path: the file, whose ending decides the format.

        Returns:
            The path.

        Raises:
            UserError: if the ending is another, or nothing can be written there.
        """
        path = Path(path)
        writers = {".obj": self._obj, ".ply": self._ply}
        if path.suffix.lower() not in writers:
            raise UserError(f"{path}: expected a file name that ends in .obj or .ply.")
        with whole_file(path) as partial:
            partial.write_bytes(writers[path.suffix.lower()]())
        return path

    def _obj(self) -> bytes:
        corners = zip(self.vertices.tolist(), (self.colours / 255).tolist(), strict=True)
        lines = ["# Metres, z up. Colours follow the coordinates."]
        lines += ["v {:.6f} {:.6f} {:.6f} {:.4f} {:.4f} {:.4f}".format(*place, *colour) for place, colour in corners]
        lines += ["f {} {} {}".format(*face) for face in (self.faces + 1).tolist()]
        return ("\n".join(lines) + "\n").encode()

    def _ply(self) -> bytes:
        header = [
            "ply",
            "format binary_little_endian 1.0",
            "comment metres, z up",
            f"element vertex {len(self.vertices)}",
            *(f"property float {axis}" for axis in "xyz"),
            *(f"property uchar {name}" for name in ("red", "green", "blue")),
            f"element face {len(self.faces)}",
            "property list uchar int vertex_indices",
            "end_header\n",
        ]
        corners = np.empty(len(self.vertices), [("place", "<f4", 3), ("colour", "u1", 3)])
        corners["place"], corners["colour"] = self.vertices, self.colours
        triangles = np.empty(len(self.faces), [("count", "u1"), ("corners", "<i4", 3)])
        triangles["count"], triangles["corners"] = 3, self.faces
        return "\n".join(header).encode() + corners.tobytes() + triangles.tobytes()


def whole_surface(model: InstantAvatarModel) -> Surface:
    """A trained person's canonical surface.

    Raises:
        UserError: if there is none, because the run was hardly trained.
    """
    from nerfstudio_avatars.instant_avatar.surface import canonical_surface

    try:
        return canonical_surface(model.avatar)
    except ValueError as error:
        raise UserError(f"{error}. Expected a run that was trained for longer.") from error


def coloured_mesh(model: InstantAvatarModel, surface: Surface, pose: BodyState | None = None) -> ColouredMesh:
    """A person's surface with a colour at each corner.

    Args:
        model: trained.
        surface: of `whole_surface`.
        pose: in the world frame; by default the canonical one, in its own axes.
    """
    from nerfstudio_avatars.instant_avatar.surface import posed_surface

    if pose is not None:
        transforms = model.poses.transforms_of(pose.to(model.device)).detach()
        surface = posed_surface(surface, model.avatar.pose(transforms), model.avatar.volume)
    return ColouredMesh(
        vertices=surface.vertices.cpu().numpy(),
        faces=surface.faces.int().cpu().numpy(),
        colours=(surface.colours.clamp(0, 1) * 255).round().byte().cpu().numpy(),
    )
