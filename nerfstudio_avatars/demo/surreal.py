"""The SURREAL demo: the demo person in SURREAL's file format, with exact joints, parts and depth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import scipy.io
import torch
from jaxtyping import Float, UInt8

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.demo.on_disk import ENCODER, MARKER
from nerfstudio_avatars.demo.person import Camera, DemoPerson
from nerfstudio_avatars.demo.surreal_motions import poses_on_a_turn, shipped
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data.surreal_world import (
    FAR_AWAY,
    HEIGHT,
    WIDTH,
    orient,
    surreal_extrinsic,
    surreal_intrinsic,
    surreal_pixels,
)
from nerfstudio_avatars.whole_files import whole_folder

_SEQUENCE = "demo_01"
FRAMES = 100
DISTANCE = 6.5
"""Distance from camera to pelvis in metres."""
_CAMERA_BELOW_PELVIS = 0.05
"""Height in metres of the pelvis above the camera, so that raised arms fit into the picture."""
UP = (0.0, -1.0, 0.0)
_FACING = 1.5 * np.pi
"""zrot in radians of a person who starts facing the camera."""
LIGHT = np.array([0.72, 0, 0.28, 0, 0, 0, 0, 0, 0], np.float32)


@dataclass(frozen=True)
class _Clip:
    number: int
    motion: BodySequence
    zrot: float


def draw_surreal_demo(
    out: Path, *, seed: int = 0, width: int = WIDTH, height: int = HEIGHT, frames: int = FRAMES
) -> Path:
    """Draws three clips of one person and writes them as `out/run0/demo_01` in SURREAL's format.

    Clip 1 shows many poses during two turns, for training; clips 2 and 3 show the shipped walk and dance from the same
    distance. Values in joints2D are not rounded.

    Args:
        out: the folder for that of the run. An earlier demo there is replaced; anything else is kept.
        seed: decides the shape of the person. The same seed draws the same clips.
        width: of the pictures, in pixels; SURREAL's focal length grows with it.
        height: of the pictures, in pixels.
        frames: the number of frames in the first clip; the others have two fifths of it each.

    Raises:
        DataError: the folder exists and is not a demo.
    """
    final = Path(out) / "run0" / _SEQUENCE
    if final.exists() and not (final / MARKER).exists():
        raise DataError(final, "a folder without a demo", "a new name, or an earlier demo", "choose another folder")
    if frames < 1 or width < 32 or height < 32 or width % 2 or height % 2:
        found = f"{frames} frames of {width}x{height}"
        raise DataError(final, found, "frames, of an even width and height of 32 or more", "ask for other sizes")
    rng = np.random.default_rng(seed)
    person = DemoPerson(torch.from_numpy(rng.uniform(-0.6, 0.6, 10)).float())
    fewer = max(1, frames * 2 // 5)
    clips = (
        _Clip(1, poses_on_a_turn(person, frames), _FACING),
        _Clip(2, shipped(person, "walk", fewer), _FACING + 0.8),
        _Clip(3, shipped(person, "dance_a", fewer), _FACING - 0.6),
    )
    with whole_folder(final) as partial:
        for clip in clips:
            _write_clip(partial, person, clip, width, height)
        (partial / MARKER).write_text(
            "Drawn by `ns-avatar demo-data --format surreal` from the CC0 stand-in body, in SURREAL's format.\n"
            "Clip 1 is to learn from; clips 2 and 3 show the same person in motions that clip 1 does not hold.\n"
        )
    return final


def _write_clip(folder: Path, person: DemoPerson, clip: _Clip, width: int, height: int) -> None:
    name, count = f"{_SEQUENCE}_c{clip.number:04d}", len(clip.motion)
    pose = torch.cat([clip.motion.global_orient, clip.motion.body_pose], 1)
    zrot = torch.full((count,), clip.zrot % (2 * np.pi))
    pelvis_rest = person.body.rest(person.betas)[1][0]
    place = clip.motion.pelvis(pelvis_rest)
    # The z-up world's heights become Blender's -y.
    transl = torch.stack([place[:, 0], -place[:, 2], place[:, 1]], -1) - pelvis_rest
    seen = BodySequence(person.betas, orient(pose[:, :3], zrot), pose[:, 3:], transl, fps=30.0)
    location = np.array([DISTANCE, _CAMERA_BELOW_PELVIS, 0.0], np.float32)
    joints = np.stack([person.body.pose(seen.state(frame)).joints.numpy() for frame in range(count)])
    joints2d = surreal_pixels(joints, location, width, height)
    camera = Camera(surreal_intrinsic(width, height), surreal_extrinsic(location), width, height)
    segm, depth = {}, {}
    with av.open(str(folder / f"{name}.mp4"), "w") as video:
        stream = video.add_stream("libx264", rate=30, options=ENCODER)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        stream.thread_count = 1
        for frame, (picture, parts, metres) in enumerate(_pictures(person, seen, camera)):
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                video.mux(packet)
            segm[f"segm_{frame + 1}"], depth[f"depth_{frame + 1}"] = parts, metres
        for packet in stream.encode():
            video.mux(packet)
    scipy.io.savemat(folder / f"{name}_segm.mat", segm, do_compression=True)
    scipy.io.savemat(folder / f"{name}_depth.mat", depth, do_compression=True)
    info = {
        "bg": _cells("demo/room.jpg", count),
        "camDist": np.array([[DISTANCE]], np.float32),
        "camLoc": location[:, None],
        "clipNo": np.array([[clip.number]], np.float64),
        "cloth": _cells("demo/stripes.jpg", count),
        "gender": np.zeros((count, 1), np.uint8),
        "joints2D": joints2d.transpose(2, 1, 0).astype(np.float32),
        "joints3D": joints.transpose(2, 1, 0).astype(np.float32),
        "light": np.tile(LIGHT[:, None], count),
        "pose": pose.numpy().T.astype(np.float32),
        "sequence": name,
        "shape": np.tile(person.betas.numpy()[:, None], count),
        "source": "cmu",
        "stride": np.array([[50]], np.uint8),
        "zrot": zrot.numpy()[:, None].astype(np.float32),
        "body": "standin",  # Not SURREAL's: tells whose shape space `shape` belongs to.
    }
    scipy.io.savemat(folder / f"{name}_info.mat", info, do_compression=True)


def _pictures(
    person: DemoPerson, motion: BodySequence, camera: Camera
) -> Iterator[tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"], Float[np.ndarray, "h w"]]]:
    """Colour in front of the room, part labels, and depth in metres; all mirrored, as by SURREAL's camera."""
    part_of_vertex = person.body.weights.argmax(1).numpy().astype(np.uint8) + 1
    background = room(camera.width, camera.height)
    for frame in range(len(motion)):
        state = motion.state(frame)
        rgba = person.draw(state, camera, UP)
        hits, _ = person.hits(state, camera)
        alpha = rgba[..., 3:] / 255
        picture = (rgba[..., :3] * alpha + background * (1 - alpha)).round().astype(np.uint8)
        corners = np.take_along_axis(person.faces[hits.face], hits.barycentric.argmax(-1)[..., None], -1)[..., 0]
        parts = np.where(hits.face >= 0, part_of_vertex[corners], np.uint8(0))
        depth = np.where(hits.face >= 0, hits.depth, FAR_AWAY).astype(np.float32)
        yield tuple(np.ascontiguousarray(layer[:, ::-1]) for layer in (picture, parts, depth))  # type: ignore[misc]


def _cells(text: str, count: int) -> np.ndarray:
    cells = np.empty((1, count), object)
    cells[:] = text
    return cells


def room(width: int, height: int) -> Float[np.ndarray, "height width 3"]:
    """An empty room: papered wall, window, skirting board, carpet."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width])[:, None, None]
    wall = np.array([168, 158, 132]) * (1 + 0.05 * np.sign(np.sin(70 * x)) - 0.25 * (x - 0.2) ** 2)[..., None]
    carpet = np.array([96, 70, 74]) * (0.8 + 0.6 * (y - 0.8) + 0.06 * np.sin(160 * y) * np.sin(90 * x))[..., None]
    picture = np.where((y > 0.86)[..., None], carpet, wall)
    picture[(y > 0.84) & (y <= 0.86)] = (225, 220, 210)
    window = (abs(x - 0.17) < 0.11) & (abs(y - 0.32) < 0.2)
    frame = window & ((abs(x - 0.17) > 0.10) | (abs(y - 0.32) > 0.18) | (abs(x - 0.17) < 0.006))
    picture[window] = np.stack([150 + 60 * y, 185 + 40 * y, 235 - 20 * y], -1)[window]
    picture[frame] = (236, 234, 228)
    return picture.clip(0, 255)
