"""nerfstudio's tab of camera paths, whose cameras see as much as the page does."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import viser

from nerfstudio_avatars.export import PORTABLE
from nerfstudio_avatars.nerfstudio_glue.viewer_guard import guard_viewer
from nerfstudio_avatars.studio.messages import say
from nerfstudio_avatars.studio.opening_view import FIELD_OF_VIEW

_FIELD, _COMMAND = "Default FOV", "Generate Command"
_WORDS = re.compile(r"--camera-path-filename (?P<path>.*) --output-path (?P<output>.*)")
"""What is needed of the command that nerfstudio shows."""


def add_camera_paths(
    server: viser.ViserServer, config: Path, folder: Path, field_of_view: float = FIELD_OF_VIEW
) -> Any:
    """Adds nerfstudio's widgets where the panel stands.

    Args:
        server: the page.
        config: the run's config.yml or a portable avatar, for the command that renders a path.
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
    stage: Any = _Server(server, round(math.degrees(field_of_view), 2), config)
    return viewer.populate_render_tab(stage, config, folder, asked)


def rendering_command(config: Path, path: str, output: str) -> str:
    """The command that renders a camera path of the training video, to be pasted into a shell.

    Args:
        config: the run's config.yml, which nerfstudio's command opens, or a portable avatar, which ours does.
        path: the file of the camera path.
        output: the film.
    """
    if config.suffix.lower() == PORTABLE:
        words = ["ns-avatar", "animate", "--load-config", str(config), "--motion", "training", "--camera", path]
        return shlex.join([*words, "--output", output])
    words = ["ns-render", "camera-path", "--load-config", str(config), "--camera-path-filename", path]
    return shlex.join([*words, "--output-path", output])


class _Server:
    """The page, for nerfstudio's tab: another field of view to begin with, and a command that works, everything else as
    it is."""

    def __init__(self, server: viser.ViserServer, degrees: float, config: Path) -> None:
        self._server = server
        self.gui = _Gui(server.gui, degrees, config)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)


class _Gui:
    def __init__(self, gui: viser.GuiApi, degrees: float, config: Path) -> None:
        self._gui, self._degrees, self._config = gui, degrees, config
        self.answered = False
        """Whether a window was opened: of fewer than two key frames, nerfstudio says nothing."""

    def add_slider(self, label: str, *arguments: Any, **options: Any) -> Any:
        """viser's."""
        if label == _FIELD:
            options["initial_value"] = self._degrees
        return self._gui.add_slider(label, *arguments, **options)

    def add_button(self, label: str, *arguments: Any, **options: Any) -> Any:
        """viser's."""
        button = self._gui.add_button(label, *arguments, **options)
        return _CommandButton(button, self._config) if label == _COMMAND else button

    def add_modal(self, *arguments: Any, **options: Any) -> Any:
        """viser's."""
        self.answered = True
        return self._gui.add_modal(*arguments, **options)

    def add_markdown(self, content: str, *arguments: Any, **options: Any) -> Any:
        """viser's."""
        found = _WORDS.search(content)
        if found is not None:
            command = rendering_command(self._config, found["path"], found["output"])
            content = f"This command films the path:\n\n```\n{command}\n```"
        return self._gui.add_markdown(content, *arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gui, name)


class _CommandButton:
    """The button whose callback says the command, on the page of whoever clicked it."""

    def __init__(self, button: viser.GuiButtonHandle, config: Path) -> None:
        self._button, self._config = button, config

    def on_click(self, callback: Callable[[Any], None]) -> None:
        """viser's."""

        def clicked(event: viser.GuiEvent) -> None:
            if event.client is None:
                return
            gui = _Gui(event.client.gui, 0.0, self._config)
            # While the second key frame is being added, there is no curve yet.
            with suppress(AssertionError):
                callback(SimpleNamespace(client=SimpleNamespace(gui=gui)))
            if not gui.answered:
                say(event, "There is no path yet", "Add two key frames first.", seconds=6)

        self._button.on_click(clicked)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._button, name)
