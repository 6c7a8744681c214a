"""One HTML file that shows an avatar: opened from disk, on any device, without a request to anywhere."""

from __future__ import annotations

import base64
from html import escape
from importlib.resources import files


def avatar_page(glb: bytes, title: str) -> str:
    """The page, with the avatar in it.

    Args:
        glb: of `rigged_glb`.
        title: what the browser's tab shows.
    """
    template = files("nerfstudio_avatars.export").joinpath("page.html").read_text("utf8")
    return template.replace("{{title}}", escape(title)).replace("{{glb}}", base64.b64encode(glb).decode("ascii"))
