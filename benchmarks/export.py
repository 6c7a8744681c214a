"""How like an avatar its exported mesh and splats are, how large the files are, and how long the exports take.

The mesh and its texture are read from the .glb that was written, and the splats, with the mesh that moves them, from
the .gvrm. Prints one JSON object: `mesh_psnr_inside` and `splat_psnr_inside` (dB, inside the field's silhouette,
against the field's own picture of the same pose and camera: `walk`, `dance_a` and `spinkick`, three views each),
`three_psnr_inside` (the same of the mesh as three.js draws it; null where NODE_PATH names no three.js or Chromium is
not installed), `silhouette_iou` and `splat_silhouette_iou`, `triangles`, `splats`, `glb_mb`, `page_mb`, `gvrm_mb`,
`export_seconds` and `splat_seconds`; under `views` PSNR and overlap of each view, of the mesh by both and of the
splats. Nothing is fitted to any of these poses.
"""

from __future__ import annotations

import io
import json
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image
from splat_reader import read_gvrm
from three_picture import opened_in_three, three_place

from nerfstudio_avatars import Avatar
from nerfstudio_avatars.avatars.film import Shot, cameras_around
from nerfstudio_avatars.avatars.textured import field_picture, posed_vertices
from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.export.mesh_picture import draw
from nerfstudio_avatars.export.page import avatar_page
from nerfstudio_avatars.export.rigged_mesh import RiggedMesh
from nerfstudio_avatars.export.splats import SkinnedSplats, Splats
from nerfstudio_avatars.instant_avatar.model import InstantAvatarModel
from nerfstudio_avatars.motion.gltf_file import GltfFile

POSES = (("walk", 10), ("dance_a", 30), ("spinkick", 30))
AZIMUTHS = (0.0, 120.0, 240.0)


@dataclass
class Options:
    """What is measured."""

    load_config: Path
    """Trained run to export."""
    triangles: int = 40_000
    """Number of triangles that the mesh may have."""
    texture_size: int = 1024
    """Number of texels along each side of the texture."""
    splats: int = 60_000
    """Number of splats."""
    size: int = 540
    """Number of pixels along each side of the compared pictures."""
    pictures: Path | None = None
    """Folder to write the field's picture, the mesh's or the splats', and their difference (x 4) to, side by side."""


def read_mesh(path: Path) -> tuple[RiggedMesh, np.ndarray]:
    """The mesh and the texture (0 to 1) of a file."""
    file = GltfFile(path)
    primitive = file.json["meshes"][0]["primitives"][0]
    part = {name: file.array(number) for name, number in primitive["attributes"].items()}
    mesh = RiggedMesh(
        vertices=part["POSITION"].astype(np.float32),
        normals=part["NORMAL"].astype(np.float32),
        faces=file.array(primitive["indices"]).reshape(-1, 3).astype(np.int32),
        uv=part["TEXCOORD_0"].astype(np.float32),
        joints=part["JOINTS_0"].astype(np.uint8),
        weights=part["WEIGHTS_0"].astype(np.float32),
    )
    view = file.json["bufferViews"][file.json["images"][0]["bufferView"]]
    start = view["byteOffset"]
    picture = Image.open(io.BytesIO(file.binary[start : start + view["byteLength"]]))
    return mesh, np.asarray(picture, np.float32) / 255


def compare(field: np.ndarray, mesh: np.ndarray) -> tuple[float, float]:
    """PSNR inside the field's silhouette, on white, and the silhouettes' intersection over union."""
    inside, covered = field[..., 3] > 0.5, mesh[..., 3] > 0.5
    on_white = [picture[..., :3] + 1 - picture[..., 3:] for picture in (field, mesh)]
    error = float(((on_white[0] - on_white[1])[inside] ** 2).mean())
    return -10 * float(np.log10(error)), float((inside & covered).sum() / (inside | covered).sum())


def read_splats(path: Path) -> tuple[RiggedMesh, SkinnedSplats]:
    """The mesh of a .gvrm file, and its splats, which lie in the T-pose, where that mesh's canonical pose has them."""
    read = read_gvrm(path)
    vrm = path.with_suffix(".vrm")
    vrm.write_bytes(read.vrm)
    mesh, _ = read_mesh(vrm)
    file = GltfFile(vrm)
    binding = torch.from_numpy(file.array(file.json["skins"][0]["inverseBindMatrices"]).copy()).float()
    joints, above = torch.eye(4).repeat(24, 1, 1), {}
    for joint, node in enumerate(file.json["skins"][0]["joints"]):
        entry = file.json["nodes"][node]
        place = above.get(node, np.zeros(3)) + entry["translation"]
        above |= {child: place for child in entry.get("children", [])}
        joints[joint, :3, 3] = torch.from_numpy(place)
    resting = np.concatenate(
        [mesh.moved(joints @ binding.reshape(-1, 4, 4).mT), np.zeros((len(mesh.vertices), 1, 4))], 1
    )
    resting[:, 3, 3] = 1
    parts = [torch.from_numpy(part).float() for part in vars(read.splats).values()]
    back = torch.from_numpy(np.linalg.inv(resting)[read.vertices, :3]).float()
    return mesh, SkinnedSplats(Splats(*parts).moved(back), read.vertices)


def pelvis(model: InstantAvatarModel, pose: BodyState) -> np.ndarray:
    """The frame of the pelvis in the world, (4, 4), metres, whose axes are the body's."""
    poses = model.poses
    turned = poses.transforms_of(pose)[0] @ torch.linalg.inv(poses.rest_from_canonical()[0])
    joint = torch.eye(4)
    joint[:3, 3] = (poses.rest_joints + poses.joint_offsets)[0]
    return (turned @ joint).detach().double().numpy()


def main(options: Options) -> None:
    """Exports, draws, and prints the figures."""
    avatar = Avatar.load(options.load_config)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        file, gvrm = Path(folder) / "me.glb", Path(folder) / "me.gvrm"
        start = time.perf_counter()
        motions = tuple(name for name, _ in POSES)
        avatar.export(file, motion=motions, triangles=options.triangles, texture_size=options.texture_size)
        seconds = time.perf_counter() - start
        avatar.export(gvrm, triangles=options.triangles, splats=options.splats)
        splat_seconds = time.perf_counter() - start - seconds
        glb, gvrm_size = file.read_bytes(), gvrm.stat().st_size
        mesh, texture = read_mesh(file)
        moving, splats = read_splats(gvrm)
        place = three_place()
        three = opened.enter_context(opened_in_three(file, place)) if place else None
        views: dict[str, dict[str, tuple[float, float]]] = {}
        for name, frame in POSES:
            motion = avatar.motion(name)
            pose = motion[frame]
            vertices = posed_vertices(avatar.model, mesh, pose)
            posed = splats.posed(moving.moved(avatar.model.poses.transforms_of(pose)))
            to_pelvis = np.linalg.inv(pelvis(avatar.model, pose))
            for azimuth in AZIMUTHS:
                shot = Shot(azimuth=azimuth, height=options.size, width=options.size)
                camera = cameras_around(avatar.body, [pose], shot)
                field = field_picture(avatar.model, pose, camera)
                drawn = {"mesh": draw(mesh, texture, vertices, camera), "splats": posed.draw(camera).numpy()}
                if three:
                    to_world = np.eye(4)
                    to_world[:3] = camera.camera_to_worlds.reshape(3, 4)
                    focal = float(camera.fx.flatten()[0])
                    drawn["three"] = three.draw(name, frame / motion.fps, to_pelvis @ to_world, focal, options.size)
                views[f"{name}_{azimuth:.0f}"] = {kind: compare(field, one) for kind, one in drawn.items()}
                for kind, one in drawn.items() if options.pictures else ():
                    save(field, one, options.pictures / f"{kind}_{name}_{azimuth:.0f}.png")
    psnr, overlap = {}, {}
    for kind in ("mesh", "splats", "three") if three else ("mesh", "splats"):
        psnr[kind], overlap[kind] = np.mean([figures[kind] for figures in views.values()], 0).tolist()
    found = {
        "mesh_psnr_inside": round(psnr["mesh"], 2),
        "three_psnr_inside": round(psnr["three"], 2) if three else None,
        "silhouette_iou": round(overlap["mesh"], 4),
        "splat_psnr_inside": round(psnr["splats"], 2),
        "splat_silhouette_iou": round(overlap["splats"], 4),
        "triangles": len(mesh.faces),
        "splats": len(splats.vertices),
        "glb_mb": round(len(glb) / 1e6, 2),
        "page_mb": round(len(avatar_page(glb, "")) / 1e6, 2),
        "gvrm_mb": round(gvrm_size / 1e6, 2),
        "export_seconds": round(seconds, 1),
        "splat_seconds": round(splat_seconds, 1),
        "views": {
            name: {kind: [round(one, 4) for one in pair] for kind, pair in figures.items()}
            for name, figures in views.items()
        },
    }
    print(json.dumps(found))


def save(field: np.ndarray, drawn: np.ndarray, path: Path) -> None:
    """Writes both pictures and their difference."""
    pair = [picture[..., :3] + 1 - picture[..., 3:] for picture in (field, drawn)]
    row = np.concatenate([*pair, 4 * abs(pair[0] - pair[1])], 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((row.clip(0, 1) * 255).round().astype(np.uint8)).save(path)


if __name__ == "__main__":
    main(tyro.cli(Options))
