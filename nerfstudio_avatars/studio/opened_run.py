"""The page of a finished run, in a process of its own: `ns-avatar view`."""

from __future__ import annotations

import os
import sys
import time
import webbrowser
from pathlib import Path


def serve_run(path: Path, host: str, port: int, open_browser: bool, data: Path | None = None) -> None:
    """Serves the page until the process is stopped.

    Args:
        path: the run's folder, the config.yml in it, or a portable avatar.
        host: address to listen on.
        port: to listen on; the next free one is taken if it is in use.
        open_browser: whether to open the page here.
        data: where the training data are, to compare with; by default, where the run says.

    Raises:
        UserError: no run, or no checkpoint.
    """
    from nerfstudio_avatars.avatars.run import find_run, load_run
    from nerfstudio_avatars.studio.server import address_of, open_server

    find_run(path)
    # The browser opens the page while the avatar is read.
    server = open_server(host, port)
    reading = server.gui.add_markdown("The avatar is being read ...")
    address = address_of(server)
    print(f"Looking at {path}: {address}\nCtrl-C ends it.", flush=True)
    if open_browser and _has_screen():
        webbrowser.open(address)
    try:
        run = load_run(path)

        from nerfstudio_avatars.studio.origin import Origin
        from nerfstudio_avatars.studio.page import Page
        from nerfstudio_avatars.studio.shows import show_of

        Page(server, show_of(run.model), Origin(run.config.path, run, data=data))
        reading.remove()
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return
    finally:
        # Its threads would keep the process.
        server.stop()


def _has_screen() -> bool:
    """Whether a browser could be seen: without a screen, a text browser may take the terminal."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
