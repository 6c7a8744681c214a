"""Pages in headless Chromium, which reaches nobody, and packages of npm that they use."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from chromium import find_chromium
from PIL import Image

OPTIONS = """
--headless --no-sandbox --disable-quic --no-first-run --disable-background-networking --use-angle=swiftshader
--enable-unsafe-swiftshader --hide-scrollbars --force-device-scale-factor=1 --virtual-time-budget=8000
--allow-file-access-from-files
"""


def picture_and_requests(page: str, folder: Path, size: int) -> tuple[np.ndarray, list[str]]:
    """A picture of a page, (height, width, 3) from 0 to 1, and the addresses that it asked for."""
    _chromium(folder, f"--log-net-log={folder / 'net.json'}", f"--screenshot={folder / 'page.png'}",
              f"--window-size={size},{size}", page)  # fmt: skip
    asked = requests_of_page((folder / "net.json").read_text("utf8"))
    return np.asarray(Image.open(folder / "page.png").convert("RGB"), np.float32) / 255, asked


def requests_of_page(log: str) -> list[str]:
    """The addresses that a page from disk asked for; what Chromium wants for itself has another initiator."""
    return re.findall(r'"initiator":"null".*?"url":"([^"]*)"', log)


def document(page: str, folder: Path) -> str:
    """What a page's document has become."""
    return _chromium(folder, "--dump-dom", page)


def _chromium(folder: Path, *options: str) -> str:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    command = [program, *OPTIONS.split(), "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += [f"--user-data-dir={folder / 'profile'}", *options]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
