"""The part of the tab Pose that gives the body another shape."""

from __future__ import annotations

from collections.abc import Callable

import torch
import viser

from nerfstudio_avatars.studio.person_show import PersonShow

_MOST = 4.0
"""Largest coefficient of a slider; one is a standard deviation among people."""


class ShapePanel:
    """Adds its widgets where the panel stands.

    Args:
        server: the page.
        show: the person.
        changed: called after each change.
    """

    def __init__(self, server: viser.ViserServer, show: PersonShow, changed: Callable[[], None]) -> None:
        self._show, self._changed = show, changed
        own = show.model.person.motion.betas.cpu()
        gui = server.gui
        with gui.add_folder("Shape", expand_by_default=False):
            gui.add_markdown("Pictures and films show it. Files of the avatar and of motions keep the learnt shape.")
            self._sliders = [
                gui.add_slider(
                    f"Shape {number}",
                    min(-_MOST, float(value)),
                    max(_MOST, float(value)),
                    0.05,
                    float(value),
                    hint="Sets a coefficient of the body model; the first changes most.",
                )
                for number, value in enumerate(own, 1)
            ]
            reset = gui.add_button("Reset shape", icon=viser.Icon.REFRESH)
        for slider in self._sliders:
            slider.on_update(self._moved)

        @reset.on_click
        def _(_: viser.GuiEvent) -> None:
            for slider, value in zip(self._sliders, own.tolist(), strict=True):
                slider.value = value
            self._reshape(own)

    def _moved(self, event: viser.GuiEvent) -> None:
        if event.client is not None:
            self._reshape(torch.tensor([float(slider.value) for slider in self._sliders]))

    def _reshape(self, betas: torch.Tensor) -> None:
        self._show.reshape(betas)
        self._changed()
