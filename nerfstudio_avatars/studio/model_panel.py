"""The tab with a model's own controls."""

from __future__ import annotations

from collections.abc import Callable

import viser
from nerfstudio.viewer.viewer_elements import ViewerElement

from nerfstudio_avatars.studio.model_show import ModelShow
from nerfstudio_avatars.studio.transport import Transport


class ModelPanel:
    """Adds its widgets where the panel stands.

    Args:
        server: the page.
        show: the model.
        changed: called after each change.
    """

    def __init__(self, server: viser.ViserServer, show: ModelShow, changed: Callable[[], None]) -> None:
        self._show, self._changed = show, changed
        self._output = server.gui.add_dropdown("Output", show.outputs, "rgb", hint="Chooses what is shown.")
        self._transport = Transport(server, show, changed)
        for _path, element in show.elements:
            element.install(server)
            element.cb_hook = self._control

        @self._output.on_update
        def _(_: viser.GuiEvent) -> None:
            show.output = self._output.value
            changed()

    def _control(self, _: ViewerElement) -> None:
        self._show.choose_clip()
        self._transport.refresh()
        self._changed()

    def refresh(self) -> None:
        """Shows what there is, and where the clip stands now."""
        if self._output.options != self._show.outputs:
            self._output.options = self._show.outputs
        self._transport.refresh()
