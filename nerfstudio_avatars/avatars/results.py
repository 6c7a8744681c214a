"""What shows how good an avatar is: figures, comparisons, films, the pictures of each training, the video beside."""

from __future__ import annotations

import logging
import os
import platform
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfstudio_avatars.errors import UserError

if TYPE_CHECKING:
    from nerfstudio_avatars.avatars.avatar import Avatar

COMPARISONS, LOOKS = "held-out", "looks"
"""Folders, beside the page, of held-out comparisons and of what each training gives."""
VIDEO, TURNTABLE, WALK = "video.mp4", "turntable.mp4", "walk.mp4"
"""The input video and the films of the result, beside the page."""
LIVE_MOTIONS = ("walk", "dance_a", "spinkick")
"""Motions of the avatar that moves in the browser."""
_FIGURES = ("psnr", "ssim")
_FPS = 20
_MARGIN = 0.06
"""Margin around the body in a picture of the looks, as a share of its height."""


def measured(config: Path, comparisons: Path, most: int | None = None) -> dict[str, Any]:
    """Measures a run on its held-out pictures, on white.

    Args:
        config: of the run.
        comparisons: folder for truth, rendering and error (x 4) side by side; an earlier one is replaced.
        most: of the pictures of each group.

    Returns:
        `novel_view_psnr`, `novel_view_box_psnr`, `novel_view_images` ... for each group that the data have, and
        `render_fps`, pictures per second. Poses are those of the data where they are exact, and elsewhere those
        between neighbouring training frames, which use no held-out pixel.
    """
    from nerfstudio_avatars.avatars.measure import follow, measure
    from nerfstudio_avatars.avatars.protocols import OURS
    from nerfstudio_avatars.avatars.run import load_run

    shutil.rmtree(comparisons, ignore_errors=True)
    run = load_run(config, need_data=True)
    # Fitting poses to held-out pictures takes long, and flatters.
    follow(replace(OURS, poses=("given", "neighbours")), run.model)
    # Nor is anything else than PSNR and SSIM shown, so what is missing for other figures need not be said.
    hints = logging.getLogger("nerfstudio_avatars.metrics")
    before = hints.level
    hints.setLevel(logging.ERROR)
    try:
        found = measure(run, pictures=comparisons, most=most)
    finally:
        hints.setLevel(before)
    figures: dict[str, Any] = {"render_fps": found.render_fps}
    for group, means in found.groups.items():
        pose = "neighbours" if "neighbours_psnr_white" in means else "given"
        figures[f"{group}_images"] = means["images"]
        for name in _FIGURES:
            figures[f"{group}_{name}"] = means[f"{pose}_{name}_white"]
            figures[f"{group}_box_{name}"] = means[f"{pose}_{name}_box_white"]
    return figures


def film_results(avatar: Avatar, output: Path, size: int, seconds: float) -> None:
    """Films the person turning in the first pose of the video, and walking.

    Args:
        avatar: the person.
        output: the folder of the page.
        size: height and width in pixels.
        seconds: length of each film.
    """
    shot = {"height": size, "width": size, "seconds": seconds, "fps": _FPS}
    avatar.film(avatar.motion("still"), output / TURNTABLE, camera="turning", **shot)
    avatar.film(avatar.motion("walk"), output / WALK, azimuth=35.0, **shot)


def show_video(video: Path, output: Path, size: int, seconds: tuple[float, float | None]) -> None:
    """Writes a small copy of the input video, which every browser plays.

    Args:
        video: a video, or a folder of pictures.
        output: the folder of the page.
        size: most pixels along the longer side.
        seconds: start and end; None is the end of the video.
    """
    import numpy as np

    from nerfstudio_avatars.media.frame_writer import FrameWriter
    from nerfstudio_avatars.process.framing import whole
    from nerfstudio_avatars.process.subject import length_of, pictures_of

    count, fps = length_of(video)
    first, last = round(seconds[0] * fps), count - 1 if seconds[1] is None else min(round(seconds[1] * fps), count - 1)
    shown = min(fps, _FPS)
    wanted = np.unique(np.arange(first, last + 1, fps / shown).round().astype(int)).tolist()
    with FrameWriter(output / VIDEO, round(shown)) as writer:
        for picture in pictures_of(video, [number for number in wanted if number < count]):
            writer.write(whole(picture.shape[0], picture.shape[1], size).cut(picture))


def compare_looks(comparisons: list[Path], output: Path) -> None:
    """Writes one held-out picture as it is, `looks/0.png`, and as each training shows it: `looks/1.png`, ...

    Args:
        comparisons: the folder of comparisons of each training, from the shortest to the longest.
        output: the folder of the page.
    """
    import numpy as np

    from nerfstudio_avatars.media.picture_files import read_picture, write_png
    from nerfstudio_avatars.whole_files import whole_folder

    shown = sorted(comparisons[0].glob("*.png"))
    if not shown:
        raise UserError(f"{comparisons[0]}: no held-out picture there. Expected PNG files.")
    strips = [read_picture(folder / shown[len(shown) // 3].name).rgb for folder in comparisons]
    first = strips[0]
    width = first.shape[1] // 3
    rows, columns = np.nonzero((first[:, :width] < 250).any(-1))
    margin = round(_MARGIN * first.shape[0])
    top, bottom = max(rows.min() - margin, 0), rows.max() + margin
    left, right = max(columns.min() - margin, 0), min(columns.max() + margin, width)
    with whole_folder(output / LOOKS) as partial:
        write_png(partial / "0.png", first[top:bottom, left:right])
        for number, strip in enumerate(strips):
            write_png(partial / f"{number + 1}.png", strip[top:bottom, width + left : width + right])


def next_commands(avatar: str, name: str) -> list[str]:
    """What to type next in the folder of the page.

    Args:
        avatar: the portable avatar, or the run.
        name: of the person, for files.
    """
    avatar, name = shlex.quote(avatar), shlex.quote(name)
    return [
        f"ns-avatar view --load-config {avatar}",
        f"ns-avatar animate --load-config {avatar} --motion dance_a --camera turning --output {name}-dances.mp4",
        f"ns-avatar export --load-config {avatar} --output {name}.vrm",
    ]


def device_name(device: str) -> str:
    """The GPU, or the processor and its cores.

    Args:
        device: `cuda` or `cpu`.
    """
    import torch

    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"cpu ({platform.machine()}, {os.cpu_count()} cores)"
