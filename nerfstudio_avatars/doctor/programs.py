"""Checks for other programs: ffmpeg and a browser."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping

from nerfstudio_avatars.doctor.finding import Finding

_BROWSERS = (
    "firefox",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "microsoft-edge",
    "brave-browser",
    "opera",
    "vivaldi",
    "epiphany",
    "konqueror",
)


def ffmpeg() -> Finding:
    """Checks for ffmpeg, which writes videos: either installed on the machine, or inside the package imageio-ffmpeg."""
    program, whose = shutil.which("ffmpeg"), "the machine's"
    if program is None:
        program, whose = _packaged_ffmpeg(), "imageio-ffmpeg's"
    if program is None:
        return Finding("ffmpeg", "missing", "not found; ns-render needs it", "pip install imageio-ffmpeg")
    try:
        said = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=10, check=True).stdout
        version = said.split()[2]
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        found = f"{program} does not run: {error}"
        return Finding("ffmpeg", "missing", found, "pip install --force-reinstall imageio-ffmpeg")
    return Finding("ffmpeg", "ok", f"{version}, {whose}: {program}")


def _packaged_ffmpeg() -> str | None:
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return None


def browser(system: str | None = None, given: Mapping[str, str] | None = None) -> Finding:
    """Checks for a browser that can show the viewer.

    Args:
        system: the system, as in `platform.system()`; Windows and macOS always have a browser.
        given: environment variables, which tell whether there is a display.
    """
    given = os.environ if given is None else given
    system = platform.system() if system is None else system
    if system != "Linux" or "microsoft" in platform.release().lower():
        return Finding("browser", "ok", "the system's, for the viewer")
    program = next(filter(None, map(shutil.which, _BROWSERS)), None)
    remedy = "ssh -L 7007:localhost:7007 USER@THIS-MACHINE"
    if program is None:
        found = "none found. Run this on a computer with a browser, then open http://localhost:7007 there"
        return Finding("browser", "missing", found, remedy)
    if not (given.get("DISPLAY") or given.get("WAYLAND_DISPLAY")):
        found = (
            f"{program}, but no display. Run this on a computer with a display, then open http://localhost:7007 there"
        )
        return Finding("browser", "missing", found, remedy)
    return Finding("browser", "ok", f"{program}, for the viewer")
