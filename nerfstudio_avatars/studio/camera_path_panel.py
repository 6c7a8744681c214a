"""nerfstudio's tab of camera paths, whose cameras see as much as the page does."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import viser

from nerfstudio_avatars.nerfstudio_glue.viewer_guard import guard_viewer
from nerfstudio_avatars.studio.opening_view import FIELD_OF_VIEW

_FIELD = "Default FOV"


def add_camera_paths(
    server: viser.ViserServer, config: Path, folder: Path, field_of_view: float = FIELD_OF_VIEW
) -> Any:
    """Adds nerfstudio's widgets where the panel stands.

    Args:
        server: the page.
        config: the run's config.yml, for the command that renders a path.
        folder: the run's: paths are saved in `camera_paths` within it.
        field_of_view: vertical, radians, that key frames begin with.

    Returns:
        nerfstudio's state of the tab, which says whether a preview is shown.
    """
    from nerfstudio_avatars.nerfstudio_glue.patches import compile_when_called

    compile_when_called()
    from nerfstudio.viewer import viewer

    guard_viewer()
    asked = SimpleNamespace(_time_enabled=True, crop_viewport=False)
    stage: Any = _Server(server, round(math.degrees(field_of_view), 2))
    return viewer.populate_render_tab(stage, config, folder, asked)


class _Server:
    """The page, for nerfstudio's tab: another field of view to begin with, everything else as it is."""

    def __init__(self, server: viser.ViserServer, degrees: float) -> None:
        self._server = server
        self.gui = _Gui(server.gui, degrees)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)


class _Gui:
    def __init__(self, gui: viser.GuiApi, degrees: float) -> None:
        self._gui, self._degrees = gui, degrees

    def add_slider(self, label: str, *arguments: Any, **options: Any) -> Any:
        """viser's."""
        if label == _FIELD:
            options["initial_value"] = self._degrees
        return self._gui.add_slider(label, *arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gui, name)
