"""Makes nerfstudio's viewer answer its own page only, and write to one folder only.

The viewer is a web server on the user's machine. Any page on the web can open a websocket to it, or even pass for its
own page through a name that points to this machine (DNS rebinding). Browsers say in `Origin` which page asks, and in
`Host` by what name. Both are checked here.
"""

from __future__ import annotations

import http
import importlib
import ipaddress
import types
import warnings
from pathlib import Path, PureWindowsPath
from typing import Any

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.nerfstudio_glue.viewer_page import answer

_STUDIO = "nerfstudio_avatars.studio.viewer"
"""The module of the viewer that stands where nerfstudio's would."""
SHARED = ".share.viser.studio"
"""Ending of host names of the tunnel that `--viewer.make-share-url True` opens."""


def guard_viewer() -> None:
    """Makes every viewer that this process starts from now on the studio, which checks who asks. Safe to call twice."""
    from nerfstudio.viewer import viewer

    guard_server()
    if hasattr(viewer.populate_render_tab, "is_guarded"):
        return
    populate = viewer.populate_render_tab

    def populate_within(server: Any, config_path: Path, datapath: Path, *more: Any, **options: Any) -> Any:
        return populate(server, config_path, FolderOfPlainNames(datapath), *more, **options)

    populate_within.is_guarded = True  # type: ignore[attr-defined]
    viewer.populate_render_tab = populate_within

    def studio_of(kind: type, *_: Any, **__: Any) -> Any:
        # By name, because the studio lies above this room. Commands have imported nerfstudio's class by now.
        studio = importlib.import_module(_STUDIO).StudioViewer
        return object.__new__(studio if kind is viewer.Viewer else kind)

    viewer.Viewer.__new__ = studio_of  # type: ignore[method-assign,assignment]


def guard_server() -> None:
    """Lets every server of viser that this process starts from now on look at who asks, and send our page. Safe to call
    twice."""
    from viser.infra import _infra

    infra: Any = _infra
    if hasattr(infra.WebsockServer.start, "is_guarded"):
        return
    websockets = infra.websockets

    def serve(handler: Any, host: str, port: int, process_request: Any = None, **options: Any) -> Any:
        def process(path: str, headers: Any) -> Any:
            refused = refusal(headers.get("Host"), headers.get("Origin"), host)
            if refused is not None:
                return http.HTTPStatus.FORBIDDEN, {"Content-Type": "text/plain"}, f"{refused}\n".encode()
            own = answer(path, headers.get("Host")) if headers.get("Upgrade") != "websocket" else None
            if own is not None:
                return http.HTTPStatus.OK, *own
            return process_request(path, headers) if process_request is not None else None

        with warnings.catch_warnings():
            # This version of viser uses a part of websockets that is deprecated.
            warnings.simplefilter("ignore", DeprecationWarning)
            listen = websockets.server.serve
        return listen(handler, host, port, process_request=process, **options)

    names = types.SimpleNamespace(**{name: getattr(websockets, name) for name in ("exceptions", "datastructures")})
    names.server = types.SimpleNamespace(serve=serve)
    infra.websockets = names

    start = infra.WebsockServer.start

    def start_and_tell(server: Any) -> None:
        asked = server._port
        start(server)
        if server._port != asked:
            print(f"Port {asked} is taken: the viewer listens on port {server._port}, http://localhost:{server._port}")

    start_and_tell.is_guarded = True  # type: ignore[attr-defined]
    infra.WebsockServer.start = start_and_tell


def refusal(host: str | None, origin: str | None, listens_on: str) -> str | None:
    """Why a request is refused, or None if it is answered.

    Args:
        host: the name by which the browser knows this server, with its port.
        origin: the page that asks; None for programs that are not browsers.
        listens_on: the address that the server listens on.
    """
    if host is None:
        return "This server only answers to its own name."
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        return f"This server only answers its own page, not {origin[:100]!r}."
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    # If it listens on the network, it may have any name there.
    if _is_local(listens_on) and not (_is_local(name) or name.lower().endswith(SHARED)):
        return f"This server only answers to localhost, not to {name[:100]!r}."
    return None


def _is_local(name: str) -> bool:
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


class FolderOfPlainNames(type(Path())):  # type: ignore[misc]
    """A folder whose `/` only takes plain names: what is typed into the viewer's Render panel cannot lead out of it."""

    def __truediv__(self, name: Any) -> Any:
        text = str(name)
        if PureWindowsPath(text).name != text or text in ("", ".", "..") or "\0" in text or ":" in text:
            raise UserError(f"{text!r:.100} is not a plain file name. Expected one without / and \\, such as `walk`.")
        return super().__truediv__(name)
