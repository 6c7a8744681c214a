"""The viewer's page, which asks nothing of any other machine.

viser's page loads Google Analytics, and nerfstudio's viewer a logo from its web site. Ours is viser's without these,
and with a policy by which the browser itself refuses every request that leaves this server. It adds scripts and style.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

PAGES = ("/", "/index.html")
_SCRIPTS = ("/studio.js", "/webcam.js")
"""Ours, which run before viser's: rest and keys, and the webcam."""
_SCRIPT = re.compile(r"<script\b(?![^>]*type=\"module\")[^>]*>.*?</script>", re.DOTALL)
_STYLE = (
    "<style>pre, pre code { white-space: pre-wrap; overflow-wrap: anywhere; } "
    "button:has(.tabler-icon-share) { display: none; }</style>"
)


def answer(path: str, host: str) -> tuple[dict[str, str], bytes] | None:
    """Headers and content of the page or of our scripts; None for whatever viser serves itself.

    Args:
        path: that the browser asks for.
        host: the name by which it knows this server, with its port.
    """
    path = path.partition("?")[0]
    if path in PAGES:
        return {"Content-Type": "text/html", "Content-Security-Policy": policy(host)}, _page()
    if path in _SCRIPTS:
        return {"Content-Type": "text/javascript"}, _script(path[1:])
    return None


def policy(host: str) -> str:
    """What the browser lets the page load: only what comes from this server, or was made in the page itself."""
    socket = f" ws://{host} wss://{host}" if re.fullmatch(r"[\w.:\[\]-]+", host) else ""
    rules = {
        "default-src": "'self'",
        # viser compiles Markdown, and sorts splats with WebAssembly.
        "script-src": "'self' 'unsafe-eval'",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": f"'self' data: blob:{socket}",
        "worker-src": "'self' blob:",
    }
    return "; ".join(f"{name} {sources}" for name, sources in rules.items())


@cache
def _page() -> bytes:
    html = (files("viser") / "client" / "build" / "index.html").read_text("utf8")
    html = _SCRIPT.sub("", html)
    html = html.replace("<title>Viser</title>", "<title>nerfstudio_avatars</title>")
    scripts = "".join(f'<script src="{path}"></script>' for path in _SCRIPTS)
    return html.replace("<head>", f"<head>{scripts}{_STYLE}", 1).encode()


@cache
def _script(name: str) -> bytes:
    return (files("nerfstudio_avatars") / "assets" / name).read_bytes()
