"""How like a learnt face its exported mesh is, how large the files are, and how long the export takes.

The mesh and its texture are read from the .glb that was written, with a clip as its animation. Prints one JSON object:
`mesh_psnr_inside` (dB, inside the method's silhouette, against the method's own picture of the same pose, on white),
`silhouette_iou`, `triangles`, `glb_mb`, `page_mb` and `export_seconds`, over some identities, frames of the clip and
turns; `mesh_psnr_opaque` the same where the method's picture is opaque: a mesh has no soft rim, and this method's
pictures have. Under `views` three of each view: inside, silhouette, opaque. The texture is fitted to a few frames of
the clip, which are among those that are measured only by chance.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from export import compare, read_mesh, save

from nerfstudio_avatars import LearntKind
from nerfstudio_avatars.avatars.driving import still_cameras
from nerfstudio_avatars.avatars.textured_parts import Look, object_picture, posed_parts
from nerfstudio_avatars.export.mesh_picture import draw
from nerfstudio_avatars.export.page import avatar_page

TURNS = (-30.0, 0.0, 30.0)
FRAMES = (0.2, 0.5, 0.8)
"""Moments of the clip."""


@dataclass
class Options:
    """What is measured."""

    load_config: Path
    """Trained run of `unsup-volanim` to export from."""
    clip: str
    """Driving clip."""
    identities: int = 3
    """Number of identities to export."""
    triangles: int = 40_000
    """Number of triangles that a mesh may have."""
    size: int = 256
    """Number of pixels along each side of the compared pictures."""
    pictures: Path | None = None
    """Folder to write the method's picture, the mesh's and their difference (x 4) to, side by side."""


def opaque(own: np.ndarray, drawn: np.ndarray) -> float:
    """PSNR where both pictures are opaque."""
    both = (own[..., 3] > 0.97) & (drawn[..., 3] > 0.97)
    return -10 * float(np.log10(((own - drawn)[both][:, :3] ** 2).mean()))


def main(options: Options) -> None:
    """Exports, draws, and prints the figures."""
    with redirect_stdout(sys.stderr):
        kind = LearntKind.load(options.load_config)
    clip = kind.drive(options.clip)
    views: dict[str, tuple[float, float, float]] = {}
    sizes: list[tuple[float, ...]] = []
    for name in kind.identities[: options.identities]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "face.glb"
            start = time.perf_counter()
            kind.export(file, identity=name, motion=(options.clip,), triangles=options.triangles)
            seconds = time.perf_counter() - start
            glb = file.read_bytes()
            mesh, texture = read_mesh(file)
        sizes.append((len(mesh.faces), len(glb) / 1e6, len(avatar_page(glb, "")) / 1e6, seconds))
        cube = kind.identity(name).cube
        for moment in FRAMES:
            frame = round(moment * (len(clip) - 1))
            for turn in TURNS:
                look = Look(kind.model.network.turned(cube, clip[frame], math.radians(turn)), options.size)
                own = object_picture(kind.model, cube, look)
                camera = still_cameras(kind.model, 1, options.size)
                drawn = draw(mesh, texture, posed_parts(mesh, look.poses), camera)
                views[f"{name}_{frame}_{turn:.0f}"] = (*compare(own, drawn), opaque(own, drawn))
                if options.pictures:
                    save(own, drawn, options.pictures / f"{name}_{frame}_{turn:.0f}.png")
    psnr, overlap, psnr_opaque = np.mean(list(views.values()), 0)
    triangles, glb_mb, page_mb, export_seconds = np.mean(sizes, 0)
    found = {
        "mesh_psnr_inside": round(float(psnr), 2),
        "mesh_psnr_opaque": round(float(psnr_opaque), 2),
        "silhouette_iou": round(float(overlap), 4),
        "triangles": round(float(triangles)),
        "glb_mb": round(float(glb_mb), 2),
        "page_mb": round(float(page_mb), 2),
        "export_seconds": round(float(export_seconds), 1),
        "views": {name: [round(one, 4) for one in figures] for name, figures in views.items()},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(tyro.cli(Options))
