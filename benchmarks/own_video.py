#!/usr/bin/env python
"""How well does `ns-avatar process` find masks and poses, and how long does it take? One JSON object.

    python benchmarks/own_video.py
    python benchmarks/own_video.py --steps 1500
    python benchmarks/own_video.py --shake 0.015

Draws the demo's person, whose poses and masks are known, and gives the video alone to what `process` calls. With
`--steps`, avatars are learnt from what was found and from the truth, and compared on the same true pictures. Of those
that learn from the truth, one trusts the poses, and one refines them all the same: what does refinement itself cost?
"""

from __future__ import annotations

import contextlib
import json
import math
import pickle
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stand_in import note, peak_memory_mb  # first: it settles how torch's threads wait

# isort: split
import cv2
import h5py
import numpy as np
import torch
import tyro
from wrong_poses import copy_with_poses

from nerfstudio_avatars.avatars.measure import follow, measure
from nerfstudio_avatars.avatars.nerfstudio_commands import train
from nerfstudio_avatars.avatars.protocols import Protocol, Refinement
from nerfstudio_avatars.avatars.run import load_run
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.smpl_body import SmplBody
from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.demo import draw_demo_sequence
from nerfstudio_avatars.files import write_json, write_npz
from nerfstudio_avatars.instant_avatar.data.people_snapshot_raw import read_poses
from nerfstudio_avatars.instant_avatar.data.snapshot_splits import HELD_OUT_EVERY, held_out_split
from nerfstudio_avatars.media.picture_files import write_png
from nerfstudio_avatars.process import subject
from nerfstudio_avatars.process.body_fit import FittedBody
from nerfstudio_avatars.process.body_landmarks import PERSON

METHOD = "instant-avatar-cpu"
HELD_OUT = Protocol(
    "ours",
    "held-out pictures in three poses",
    ("white",),
    ("given", "neighbours", "refined"),
    refinement=Refinement(steps=300, rays=2000, lr=1e-2),
)
"""Poses are fitted to held-out pictures until they hardly move: each avatar has a frame of its own, in which its joints
are beside the true ones by a constant that harms nobody, and true poses are far from it."""
MOST = 5
"""Held-out pictures that are compared, of views between the training frames, and of new poses."""


@dataclass
class Options:
    """The video."""

    frames: int = 40
    """Taken out of it."""
    size: int = 540
    """Side of the drawn pictures, pixels."""
    field_of_view: float | None = None
    """As `process` is told it, degrees; by default it has to find it. The drawn camera's own is 22.9."""
    end: float = 3.9
    """Seconds; afterwards the drawn person dances."""
    seed: int = 0
    """Of the drawn person."""
    shake: float = 0.0
    """Standard deviation of the way that a hand moves the picture, as a share of its side; it rolls as well, by as many
    radians. The frames are then handed over as pictures, and no avatar is learnt."""
    steps: int = 0
    """Of the trainings from what was found and from the truth; by default none."""
    keep: Path | None = None
    """Folder for data and runs; a temporary one by default."""


@torch.no_grad()
def about_the_pelvis(body, motion, frames: list[int]) -> torch.Tensor:
    """Joints (frames, 24, 3) in the camera's axes, metres."""
    joints = torch.stack([body.pose(motion.state(frame)).joints for frame in frames])
    return joints - joints[:, :1]


def by_hand(frames: int, side: int, shake: float) -> list[np.ndarray]:
    """How a hand moves each picture: affine maps (2, 3) of pixels: it rolls and shifts, slowly and with a tremor."""
    random = np.random.default_rng(0)
    noise = random.standard_normal((frames + 60, 3))
    slow = np.stack([np.convolve(noise[:, one], np.hanning(45), "same") for one in range(3)], 1)[30:-30]
    quick = np.stack([np.convolve(noise[:, one], np.hanning(7), "same") for one in range(3)], 1)[30:-30]
    way = slow / slow.std(0) + 0.3 * quick / quick.std(0)
    maps = []
    for right, down, roll in shake * way:
        turn = np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
        middle = np.full(2, (side - 1) / 2)
        maps.append(np.concatenate([turn, (middle + side * np.array([right, down]) - turn @ middle)[:, None]], 1))
    return maps


def moved(picture: np.ndarray, by: np.ndarray) -> np.ndarray:
    """A picture, moved; what comes into it goes on from its border."""
    size = picture.shape[1::-1]
    return cv2.warpAffine(picture, by, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def shaken(video: Path, folder: Path, hand: list[np.ndarray]) -> Path:
    """The pictures of a video, moved by a hand, in a folder."""
    folder.mkdir()
    numbers = list(range(len(hand)))
    for number, picture in zip(numbers, subject.pictures_of(video, numbers), strict=True):
        write_png(folder / f"{number:04d}.png", moved(picture, hand[number]))
    return folder


def main(options: Options) -> None:
    """Draws, processes, compares."""
    with tempfile.TemporaryDirectory() as temporary, contextlib.redirect_stdout(sys.stderr):
        folder = options.keep or Path(temporary)
        note("drawing")
        drawn = draw_demo_sequence(folder / "drawn", seed=options.seed, size=options.size)
        body = load_standin()
        note("looking at frames")
        start = time.perf_counter()
        (video,) = drawn.glob("*.mp4")
        hand = by_hand(len(read_poses(drawn)), options.size, options.shake)
        if options.shake:
            video = shaken(video, folder / "shaken", hand)
        footage = subject.look_at(video, options.frames, (0.0, options.end), options.size)
        looked = time.perf_counter()
        note("fitting the body")
        fitted, field_of_view = subject.fit(footage, body, options.field_of_view)
        done = time.perf_counter()
        with h5py.File(drawn / "masks.hdf5") as file:
            masks = [moved(file["masks"][number].astype(np.uint8), hand[number]) for number in footage.numbers]
            masks = [footage.framing.cut(mask) > 0 for mask in masks]
        pairs = zip((one.person for one in footage.seen), masks, strict=True)
        overlaps = [(ours & mask).sum() / (ours | mask).sum() for ours, mask in pairs]
        true = about_the_pelvis(body, read_poses(drawn), footage.numbers)
        found = about_the_pelvis(body, fitted.motion, list(range(len(footage.numbers))))
        true[..., :2] @= torch.from_numpy(np.stack([hand[n][:, :2].T for n in footage.numbers])).float()
        error = (found - true).norm(dim=-1)
        learns = options.steps and not options.shake
        learnt = _learnt(folder, drawn, footage, fitted, field_of_view, body, options.steps) if learns else {}
    print(
        json.dumps(
            {
                "question": "how well does `ns-avatar process` find masks and poses?",
                **{name: value for name, value in vars(options).items() if name != "keep"},
                "mask_iou": round(float(np.mean(overlaps)), 4),
                "joint_error_cm": round(float(100 * error.mean()), 2),
                "joint_error_cm_worst_frame": round(float(100 * error.mean(1).max()), 2),
                "field_of_view_found": round(field_of_view, 1),
                "landmark_error_px": round(fitted.landmark_error or 0.0, 2),
                "body_mask_iou": round(float(fitted.overlaps.mean()), 3),
                "looking_s": round(looked - start, 1),
                "fitting_s": round(done - looked, 1),
                **learnt,
                "threads": torch.get_num_threads(),
                "peak_memory_mb": peak_memory_mb(),
            }
        )
    )


# Avatars of what was found, and of the truth --------------------------------------------------------------------------


def _learnt(
    folder: Path,
    drawn: Path,
    footage: subject.Footage,
    fitted: FittedBody,
    field_of_view: float,
    body: SmplBody,
    steps: int,
) -> dict[str, Any]:
    """PSNR of the avatars, by group of held-out pictures and pose; all learn from the same frames."""
    numbers = footage.numbers
    splits = {
        name: [numbers[index] for index in chosen]
        for name, chosen in held_out_split(len(numbers), HELD_OUT_EVERY).items()
    }
    true = folder / "true" / drawn.name
    shutil.copytree(drawn, true)
    found = copy_with_poses(drawn, folder / "found" / drawn.name, _every_frame(fitted.motion, numbers, drawn))
    for data in (true, found):
        write_json(data / "splits.json", {**splits, "gender": "neutral", "body": "standin"})
    _look_through(found, field_of_view)
    with h5py.File(found / "masks.hdf5", "r+") as file:
        for number, seen in zip(numbers, footage.seen, strict=True):
            if number in splits["train"]:
                file["soft_masks"][number] = _in_the_whole_picture(seen.mask, footage.framing)
                file["masks"][number] = file["soft_masks"][number] >= PERSON
    _place_new_poses(found, fitted.motion, body)
    results: dict[str, Any] = {}
    for name, data, refine in (("true", true, False), ("true-refined", true, True), ("found", found, True)):
        note(f"training on what is {name}")
        flags = ["--steps-per-eval-image", "0", "--pipeline.model.refine-poses", str(refine)]
        flags += ["people-snapshot", "--downscale-factor", "2"]
        run = train(METHOD, data, folder / "runs", name, steps, flags, folder / f"{name}.log", f"Training, {name}")
        opened = load_run(run.config, need_data=True)
        follow(HELD_OUT, opened.model)
        results[name] = {
            group: {pose: round(means[f"{pose}_psnr_white"], 2) for pose in HELD_OUT.poses}
            for group, means in measure(opened, most=MOST).groups.items()
        }
    return {"held_out": results}


@torch.no_grad()
def _every_frame(motion: BodySequence, numbers: list[int], drawn: Path) -> BodySequence:
    """The motion that was found, in all frames of the video, between those that were looked at."""
    places = np.interp(np.arange(len(read_poses(drawn))), numbers, np.arange(len(numbers)))
    first = places.astype(int).clip(max=len(numbers) - 2)
    pairs = zip(first.tolist(), (places - first).tolist(), strict=True)
    states = [motion.state(at).towards(motion.state(at + 1), share) for at, share in pairs]
    parts = {name: torch.stack([getattr(one, name) for one in states]) for name in ("global_orient", "body_pose")}
    return BodySequence(motion.betas, **parts, transl=torch.stack([one.transl for one in states]))


def _look_through(data: Path, field_of_view: float) -> None:
    """Gives a drawn subject's video the lens that was found."""
    camera = pickle.loads((data / "camera.pkl").read_bytes())
    focal = max(camera["width"], camera["height"]) / 2 / math.tan(math.radians(field_of_view) / 2)
    (data / "camera.pkl").write_bytes(pickle.dumps(camera | {"camera_f": np.full(2, focal)}, protocol=2))


def _in_the_whole_picture(mask: np.ndarray, framing: subject.Framing) -> np.ndarray:
    whole = np.zeros(framing.filmed, np.uint8)
    whole[framing.top : framing.top + framing.height, framing.left : framing.left + framing.width] = mask
    return whole


@torch.no_grad()
def _place_new_poses(data: Path, motion: BodySequence, body: SmplBody) -> None:
    """Gives the new poses the shape that was found, as far from their cameras as its height wants.

    A body that was found too large stands too far away, and looks the same.
    """
    with h5py.File(data / "reconstructed_poses.hdf5", "r+") as file:
        true_betas = torch.from_numpy(file["betas"][:]).float()
        file["betas"][:] = motion.betas.numpy()
    (true, true_joints), (found, joints) = body.rest(true_betas), body.rest(motion.betas)
    scale = float((found[:, 1].max() - found[:, 1].min()) / (true[:, 1].max() - true[:, 1].min()))
    with np.load(data / "novel_poses" / "poses.npz") as file:
        poses = dict(file)
    with np.load(data / "novel_poses" / "cameras.npz") as file:
        extrinsic = file["extrinsic"]
    eyes = -(extrinsic[:, :3, :3].transpose(0, 2, 1) @ extrinsic[:, :3, 3:])[..., 0]
    pelvis = poses["transl"] + true_joints[0].numpy()
    poses["transl"] = (eyes + scale * (pelvis - eyes) - joints[0].numpy()).astype(np.float32)
    poses["betas"] = motion.betas.numpy()[None]
    write_npz(data / "novel_poses" / "poses.npz", **poses)


if __name__ == "__main__":
    main(tyro.cli(Options))
