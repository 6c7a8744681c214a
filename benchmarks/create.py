#!/usr/bin/env python
"""How long does `ns-avatar create` take, to its first page and in all, and how good is the avatar? One JSON object.

    python benchmarks/create.py

Draws a ten-second video of the demo's person turning around, and gives the video alone to the command. With `--video`,
your own is taken. With `--kills`, the command is killed (SIGKILL) at that many random moments and typed again.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from stand_in import note  # first: it settles how torch's threads wait

# isort: split
import torch
import tyro

from nerfstudio_avatars.avatars.creation import ACCOUNT
from nerfstudio_avatars.demo import draw_demo_sequence


@dataclass
class Options:
    """The video."""

    video: Path | None = None
    """To use in place of the drawn one."""
    output: Path | None = None
    """Folder that stays; by default a temporary one."""
    seconds: float = 10.0
    """Length of the drawn video, at 30 frames a second."""
    size: int = 540
    """Side of the drawn pictures, pixels."""
    kills: int = 0
    """How often the command is killed before it may end; times mean little then."""
    longest_life: float = 60.0
    """Seconds after which it is killed at the latest."""
    frames: int = 80
    """As the command's own."""
    steps: int | None = None
    """As the command's own."""
    first_steps: int | None = None
    """As the command's own."""


def run(command: list[str], life: float | None) -> tuple[int, float | None]:
    """Runs the command to its end, or kills it and whatever it started.

    Returns:
        Its exit code, and the seconds after which it spoke of a first look.
    """
    start, first = time.perf_counter(), None
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    timer = threading.Timer(life, lambda: process.send_signal(signal.SIGKILL)) if life is not None else None
    if timer:
        timer.start()
    for line in process.stdout:
        note(f"{time.perf_counter() - start:6.1f} s  {line.rstrip()}")
        if first is None and line.startswith("A first look"):
            first = time.perf_counter() - start
    code = process.wait()
    if timer:
        timer.cancel()
    return code, first


def main(options: Options) -> None:
    """Draws, creates, reports."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, video = options.output or Path(temporary) / "me", options.video
        if video is None:
            note("drawing")
            frames = round(30 * options.seconds)
            drawn = draw_demo_sequence(Path(temporary) / "drawn", size=options.size, frames=frames)
            (video,) = drawn.glob("*.mp4")
        command = [sys.executable, "-m", "nerfstudio_avatars.cli", "create", str(video), "--output", str(folder)]
        for name in ("frames", "steps", "first_steps"):
            if getattr(options, name) is not None:
                command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
        lives, moments = [], random.Random(0)
        for _ in range(options.kills):
            lives.append(round(moments.uniform(1, options.longest_life), 1))
            note(f"killing it after {lives[-1]} s")
            code, _ = run(command, lives[-1])
            assert code in (0, -signal.SIGKILL), f"it ended with code {code}"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        code, first = run(command, None)
        seconds = time.perf_counter() - start
        if code:
            sys.exit(code)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        account = json.loads((folder / ACCOUNT).read_text("utf8"))
    figures = account["evaluation"]["found"]
    print(
        json.dumps(
            {
                "question": "how long does `ns-avatar create` take, and how good is the avatar?",
                "video": video.name if options.video else f"drawn, {options.seconds:g} s, {options.size} px",
                "first_page_s": None if first is None else round(first, 1),
                "total_s": round(seconds, 1),
                "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
                "stages_s": {name: one["seconds"] for name, one in account.items()},
                "steps": {name: account[name]["settings"]["steps"] for name in ("first-training", "training")},
                "psnr_db": {name: round(one["novel_view_psnr"], 2) for name, one in figures.items()},
                "psnr_box_db": {name: round(one["novel_view_box_psnr"], 2) for name, one in figures.items()},
                "killed_after_s": lives,
                "cores": os.cpu_count(),
                "threads": torch.get_num_threads(),
                "gpu": torch.cuda.is_available(),
            }
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
