"""The demo's drawn person as a film in InstantAvatar's layout, whose training frames a benchmark may spoil."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.demo import draw_demo_sequence
from nerfstudio_avatars.files import write_npz
from nerfstudio_avatars.instant_avatar.data.people_snapshot_raw import read_raw
from nerfstudio_avatars.media.picture_files import write_png

Picture = UInt8[np.ndarray, "h w 3"]
Mask = UInt8[np.ndarray, "h w"]
Spoil = Callable[[int, BodySequence, Picture, Mask], tuple[Picture, Mask]]
"""Takes the number of a training frame, the true poses, the picture and its mask; returns what is filmed instead."""


def films_of(folder: Path, size: int, spoils: dict[str, Spoil | None]) -> dict[str, Path]:
    """Draws the demo's person, and writes a film for each name, unless they are there already.

    Args:
        folder: for the films.
        size: side of the square pictures, in pixels.
        spoils: see `write_film`.
    """
    drawn = folder / "drawn" / "demo-casual"
    if not drawn.is_dir():
        draw_demo_sequence(drawn.parent, size=size)
    films = {name: folder / name for name in spoils}
    for name, film in films.items():
        if not film.is_dir():
            write_film(drawn, film, spoils[name])
    return films


def write_film(drawn: Path, film: Path, spoil: Spoil | None) -> None:
    """Writes a drawn sequence with its exact poses, without its new poses, which other cameras see.

    Args:
        drawn: what `draw_demo_sequence` returned.
        film: the folder to write.
        spoil: what happens to training frames; None leaves them as they are.
    """
    splits = json.loads((drawn / "splits.json").read_text("utf8"))
    recording = read_raw(drawn, {name: splits[name] for name in ("train", "val", "test")})
    # All frames get the camera of the first, and new poses have others.
    splits = {name: [one for one in its if one not in recording.novel_poses] for name, its in recording.splits.items()}
    shown = sorted({frame for frames in splits.values() for frame in frames})
    for name in ("images", "masks"):
        (film / name).mkdir(parents=True)
    row = {frame: index for index, frame in enumerate(shown)}
    trained, motion = set(splits["train"]), recording.motion
    for frame, picture in zip(shown, recording.read(shown), strict=True):
        seen = picture.rgb, picture.mask
        if spoil and frame in trained:
            seen = spoil(frame, motion, *seen)
        for name, pixels in zip(("images", "masks"), seen, strict=True):
            write_png(film / name / f"{row[frame]:04d}.png", pixels)
    rows = torch.tensor(shown)
    poses = {name: getattr(motion, name)[rows].numpy() for name in ("global_orient", "body_pose", "transl")}
    write_npz(film / "poses.npz", betas=motion.betas.numpy()[None], **poses)
    size = {"height": recording.height, "width": recording.width}
    write_npz(film / "cameras.npz", intrinsic=recording.intrinsics[0], extrinsic=recording.extrinsics[0], **size)
    frames = {name: [row[frame] for frame in splits[name]] for name in ("train", "val", "test")}
    (film / "splits.json").write_text(json.dumps({**frames, "gender": "neutral", "body": "standin"}), "utf8")
