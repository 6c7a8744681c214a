#!/usr/bin/env python
"""How like a real person is their avatar, on held-out frames, face and hands included? One JSON object.

    python benchmarks/real_person.py data/me
    python benchmarks/real_person.py me.mp4 --held-out last-third

A video, or a folder of pictures, goes through `ns-avatar process` first. A folder with masks and poses is trained on.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from stand_in import note, peak_memory_mb  # first: it settles how torch's threads wait

# isort: split
import numpy as np
import torch
import tyro
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor
from torch.nn import functional as F

from nerfstudio_avatars.avatars.nerfstudio_commands import train
from nerfstudio_avatars.avatars.run import LoadedRun, default_steps, load_run
from nerfstudio_avatars.instant_avatar.data.detail_windows import WRISTS, middle_of_head, window_about
from nerfstudio_avatars.instant_avatar.data.people_snapshot import layout_of
from nerfstudio_avatars.instant_avatar.held_out_pictures import HeldOutCamera
from nerfstudio_avatars.media.contact_sheet import SheetRow, spread, write_sheet
from nerfstudio_avatars.metrics.body_box import body_box
from nerfstudio_avatars.metrics.face_identity import embed_faces
from nerfstudio_avatars.metrics.face_landmarks import FaceLandmarks
from nerfstudio_avatars.metrics.image import composite, image_metrics
from nerfstudio_avatars.metrics.psnr import psnr
from nerfstudio_avatars.metrics.st_lpips import st_lpips
from nerfstudio_avatars.process.own_video import OwnVideo

METHOD = "instant-avatar-cpu"
SHOWN = "neighbours"
"""The pose in which face and hands are compared: it uses no test pixel, and misses the picture least."""
HEAD_SIDE, HANDS_SIDE = 0.5, 0.3
"""Sides in metres of the windows about the middle of the head, and about a wrist."""
FACE_PIXELS = 320
"""Side to which the head's window is enlarged, because the network that finds faces takes near ones."""


@dataclass
class Options:
    """The person, and how they are learnt."""

    data: Annotated[Path, tyro.conf.Positional]
    """A folder that `ns-train instant-avatar` trains on, or a video, or a folder of pictures."""
    held_out: Literal["fourths", "last-third"] = "fourths"
    """Every fourth frame, or the last third of the film: poses that the avatar has never been in."""
    steps: int | None = None
    """Of the training; the method's by default."""
    downscale_factor: float | None = None
    """Of the pictures; by default until the person is 540 pixels tall."""
    compare_factor: float | None = None
    """By which the pictures are shrunk that are compared; by default as those that are learnt from."""
    frames: int = 80
    """Taken from a video."""
    field_of_view: float | None = None
    """Of a video, as `process` takes it, degrees; by default it is found."""
    options: tuple[str, ...] = field(default_factory=tuple)
    """More of `ns-train`'s options, such as `pipeline.model.avatar.band=0.12`."""
    keep: Path | None = None
    """Folder for data, run, and the sheet of comparisons; a temporary one by default."""


def main(options: Options) -> None:
    """Processes if needed, trains, measures and prints."""
    with tempfile.TemporaryDirectory() as temporary, contextlib.redirect_stdout(sys.stderr):
        folder = options.keep or Path(temporary)
        data = options.data if layout_of(options.data) else _processed(options, folder / "data")
        steps = options.steps or default_steps(METHOD)
        flags = ["--steps-per-eval-image", "0", *(part for one in options.options for part in _flag(one))]
        flags += ["people-snapshot", *_split(data, options.held_out)]
        if options.downscale_factor is not None:
            flags += ["--downscale-factor", str(options.downscale_factor)]
        note("training")
        run = train(METHOD, data, folder / "runs", data.name, steps, flags, folder / "train.log", "Training")
        note("measuring")
        figures = _measured(load_run(run.config, need_data=True), options.compare_factor, folder / "comparison.png")
        figures |= _of_filmed_picture(figures, data)
    figures |= {"steps": steps, "train_seconds": round(run.train_seconds, 1), "threads": torch.get_num_threads()}
    asked = {name: getattr(options, name) for name in ("held_out", "compare_factor", "options")}
    asked["data"] = options.data.name
    print(json.dumps({"question": "how like a real person is their avatar?"} | asked | figures | {
        "peak_memory_mb": peak_memory_mb()
    }))  # fmt: skip


def _processed(options: Options, data: Path) -> Path:
    if not data.exists():
        note("finding the person")
        video = OwnVideo(options.data, data, frames=options.frames, field_of_view=options.field_of_view)
        note("\n".join(video.process().lines))
    return data


def _of_filmed_picture(figures: dict[str, Any], data: Path) -> dict[str, float]:
    """PSNR over the whole filmed picture, of which `process` keeps a window: white outside, in truth and rendering."""
    notes = data / "splits.json"
    told = json.loads(notes.read_text("utf8")) if notes.is_file() else {}
    if "window" not in told:
        return {}
    more = 10 * math.log10(math.prod(told["filmed"]) / math.prod(told["window"][2:]))
    poses = ("given", "neighbours", "refined")
    return {f"filmed_{pose}_psnr": round(figures[f"{pose}_psnr"] + more, 2) for pose in poses}


def _flag(option: str) -> tuple[str, str]:
    name, _, value = option.partition("=")
    return f"--{name}", value


def _split(data: Path, held_out: str) -> list[str]:
    if held_out == "fourths":
        return []
    frames = len(list((data / "images").iterdir()))
    first = round(frames * 2 / 3)
    last = f"{first}:{frames - 1}"
    return ["--train", f"0:{first - 1}", "--val", last, "--test", last]


def _held_out(run: LoadedRun, factor: float | None) -> Iterable[tuple[Cameras, Float[Tensor, "h w 4"]]]:
    """Cameras and pictures that are held out, shrunk as in training, or by a factor of their own."""
    if factor is None:
        for camera, batch in run.datamanager.fixed_indices_eval_dataloader:
            yield camera, batch["image"]
        return
    parser = deepcopy(run.datamanager.config.dataparser)
    parser.downscale_factor = factor
    outputs = parser.setup().get_dataparser_outputs("test")
    for index, picture in enumerate(outputs.metadata["pictures"].load()):
        yield outputs.cameras[index : index + 1], picture.float() / 255


def _measured(run: LoadedRun, factor: float | None, sheet: Path) -> dict[str, Any]:
    """Means over held-out pictures, on white."""
    model = run.model
    rows: dict[str, list[float]] = defaultdict(list)
    heads: dict[str, list[Tensor]] = {"true": [], "rendered": []}
    shown: list[tuple[np.ndarray, np.ndarray]] = []
    with torch.no_grad():
        for camera, truth in _held_out(run, factor):
            neighbours = model.get_outputs_for_camera(camera=camera)
            held_out = HeldOutCamera(camera, model.avatar, model.poses, model.render_pose)
            pictures = held_out.in_each_pose(neighbours, truth, model.config.test_pose_refinement)
            white = composite(truth, "white")
            for pose, seen in pictures.items():
                for name, value in _of_picture(seen["rgb"], truth, white).items():
                    rows[name.format(pose=pose)].append(value)
            rows["person_pixels"].append(_height(truth[..., 3]))
            frame = int(camera.metadata["frame"].flatten()[0])
            posed, size = model.person.body.pose(model.poses.state(frame)), truth.shape[:2]
            rendered = pictures[SHOWN]["rgb"].clamp(0, 1)
            for wrist in WRISTS:
                window = window_about(posed.joints[wrist], HANDS_SIDE, camera, size)
                rows["hands_psnr"].append(psnr(rendered[window], white[window]))
            head = window_about(middle_of_head(posed), HEAD_SIDE, camera, size)
            for name, picture in (("true", white), ("rendered", rendered)):
                heads[name].append(_enlarged(picture[head]))
            shown.append(((255 * white).round().byte().numpy(), (255 * rendered).round().byte().numpy()))
    chosen = spread(len(shown))
    write_sheet(
        sheet,
        [
            SheetRow(name, [shown[index][side] for index in chosen], [str(index) for index in chosen])
            for side, name in enumerate(("filmed", "rendered"))
        ],
    )
    means = {
        name: round(float(np.mean(values)), 4 if "ssim" in name or "lpips" in name else 2)
        for name, values in rows.items()
    }
    return means | {"held_out_frames": len(shown)} | _faces(heads)


def _of_picture(rendered: Tensor, truth: Tensor, white: Tensor) -> dict[str, float]:
    """Figures of a picture, whole and in the body's box, whose names want `pose`."""
    measured = image_metrics(rendered, truth, "white", perceptual="off")
    box = body_box(truth[..., 3])
    named: dict[str, float] = {}
    for place, end, window in (("", "white", (...,)), ("box_", "box_white", box)):
        named |= {f"{place}{{pose}}_{name}": measured[f"{name}_{end}"] for name in ("psnr", "ssim")}
        for name, value in st_lpips(rendered[window].clamp(0, 1), white[window]).items():
            named[f"{place}{{pose}}_{name.removesuffix('_alex')}"] = value
    return named


def _height(mask: Float[Tensor, "height width"]) -> int:
    rows, _ = body_box(mask, margin=0)
    return rows.stop - rows.start


def _enlarged(picture: Float[Tensor, "h w 3"]) -> Tensor:
    factor = FACE_PIXELS / max(picture.shape[:2])
    size = [round(side * factor) for side in picture.shape[:2]]
    larger = F.interpolate(picture.permute(2, 0, 1)[None], size, mode="bicubic", align_corners=False, antialias=True)
    return (255 * larger[0].permute(1, 2, 0)).clamp(0, 255).round().byte()


def _faces(heads: dict[str, list[Tensor]]) -> dict[str, Any]:
    """How far rendered faces are from the true ones, and in how many of the frames with a face they are found."""
    find = FaceLandmarks()
    nowhere = torch.full((468, 3), torch.nan)
    embedded = {}
    for name, pictures in heads.items():
        points = [found if (found := find.detect(one)) is not None else nowhere for one in pictures]
        embedded[name] = torch.cat([embed_faces(one[None], at[None]) for one, at in zip(pictures, points, strict=True)])
    distance = (embedded["rendered"] - embedded["true"]).norm(dim=-1)
    filmed = embedded["true"].isfinite().all(-1)
    both = distance.isfinite()
    return {
        "face_frames": int(filmed.sum()),
        "face_found": round(float(both.sum() / filmed.sum()), 3) if filmed.any() else None,
        "face_identity": round(float(distance[both].mean()), 3) if both.any() else None,
    }


if __name__ == "__main__":
    main(tyro.cli(Options))
