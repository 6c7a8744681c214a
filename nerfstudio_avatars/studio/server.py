"""The studio's web server. It imports little, so that a page can open while the avatar is still being read."""

from __future__ import annotations

import viser

from nerfstudio_avatars.nerfstudio_glue.viewer_guard import guard_server
from nerfstudio_avatars.nerfstudio_glue.viewer_icons import read_icons_once


def open_server(host: str, port: int) -> viser.ViserServer:
    """A server that answers from now on, with an empty page in the studio's style.

    Args:
        host: address to listen on.
        port: to listen on; the next free one is taken if it is in use.
    """
    guard_server()
    read_icons_once()
    server = viser.ViserServer(host=host, port=port, verbose=False)
    # The page's style hides the button that shares it with the world; told to leave the button out, viser's page
    # breaks if it has shown it before.
    server.gui.configure_theme(control_layout="collapsible", show_logo=False, brand_color=(40, 110, 160))
    return server


def address_of(server: viser.ViserServer) -> str:
    """What to type into a browser on this computer."""
    host = server.get_host()
    return f"http://{'localhost' if host in ('0.0.0.0', '127.0.0.1') else host}:{server.get_port()}"
