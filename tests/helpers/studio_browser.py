"""`ns-avatar view` in a process of its own, and what its page shows in a browser."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from chromium import Page

SIDE = 512
"""Side of the pictures that are looked at, in pixels."""


@contextmanager
def viewed(*words: str) -> Iterator[str]:
    """Runs `ns-avatar view`, and gives the address of its page."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    environment.pop("DISPLAY", None)
    command = [sys.executable, "-m", "nerfstudio_avatars.cli", "view", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            line = next(line for line in process.stdout if line.startswith("Looking at"))
            yield line.split()[-1]
        finally:
            process.terminate()
            process.wait(timeout=20)


def after(page: Page, action: Callable[[], object]) -> np.ndarray:
    """The picture that stays after something was done."""
    count = page.run("window.pictures.length")
    action()
    page.wait(f"window.pictures.length > {count}")
    return page.still_picture(SIDE)


def downloaded(page: Page, name: str, seconds: float = 300) -> Path:
    """Waits for a file. The browser is asked meanwhile: whoever does not listen to it is cut off, and gets no files."""
    path, end = page.downloads / name, time.monotonic() + seconds
    while not path.exists() and time.monotonic() < end:
        page.run("1")
        time.sleep(0.2)
    return path
