"""viser's icons without their wait.

viser keeps some five thousand icons in one archive, and opens and lists all of it for each button that bears one: a
fifth of a second each, which is most of what it takes to lay out the studio's panel.
"""

from __future__ import annotations

import tarfile
from functools import cache
from threading import Lock


def read_icons_once() -> None:
    """Lets viser list its icons once, for all buttons that this process adds from now on. Safe to call twice."""
    from viser import _gui_api, _icons

    lock = Lock()

    @cache
    def archive() -> tarfile.TarFile:
        return tarfile.open(_icons.ICONS_DIR / "tabler-icons.tar")

    @cache
    def svg_from_icon(name: str) -> str:
        with lock:
            icon = archive().extractfile(f"{name}.svg")
            assert icon is not None
            return icon.read().decode()

    _gui_api.svg_from_icon = svg_from_icon  # type: ignore[assignment]
