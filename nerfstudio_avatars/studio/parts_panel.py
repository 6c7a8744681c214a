"""The tab that says how the picture looks, which parts are in it, and how far they are moved by hand."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from functools import partial

import viser

from nerfstudio_avatars.studio.kind_show import OUTPUTS, KindShow
from nerfstudio_avatars.studio.part_sliders import MOST
from nerfstudio_avatars.unsup_volanim.voxel_render import part_colours

_SHARPNESS = (128, 1024, 128)
"""Least and largest side of a still picture in pixels, and the step between two."""
_HUES = (
    "red", "orange", "yellow", "lime", "green", "mint", "cyan", "azure", "blue", "violet", "magenta", "rose",
)  # fmt: skip
"""Names of hues, evenly spaced."""


class PartsPanel:
    """Adds its widgets where the panel stands.

    Args:
        server: the page.
        show: the kind.
        changed: called after each change.
        sharpness: called with the side of still pictures, in pixels.
        side: it is now.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        show: KindShow,
        changed: Callable[[], None],
        sharpness: Callable[[int], None],
        side: int,
    ) -> None:
        self._show, self._changed = show, changed
        gui, parts = server.gui, show.model.config.network.parts
        output = gui.add_dropdown(
            "Output", OUTPUTS, show.output, hint="Chooses what is shown; parts have the colours that are named below."
        )
        low, high, step = _SHARPNESS
        sharp = gui.add_slider(
            "Sharpness", low, high, step, side, hint="Sets the side of the picture in pixels when nothing moves."
        )
        with gui.add_folder("Show"):
            for part in range(parts):
                box = gui.add_checkbox(f"Part {part}, {hue_name(part, parts)}", True)
                box.on_update(partial(self._switch, part, box))
        with gui.add_folder("Move"):
            gui.add_markdown("Each part goes the way that it goes most in the first clip.")
            self._sliders = []
            for part in range(parts):
                slider = gui.add_slider(f"Move part {part}", -MOST, MOST, 0.1, 0.0)
                slider.on_update(partial(self._move, part, slider))
                self._sliders.append(slider)
            back = gui.add_button("Back", icon=viser.Icon.ARROW_BACK_UP, hint="Moves all parts only as the clip says.")

        @output.on_update
        def _(_: viser.GuiEvent) -> None:
            show.output = output.value
            changed()

        @sharp.on_update
        def _(_: viser.GuiEvent) -> None:
            sharpness(int(sharp.value))
            changed()

        @back.on_click
        def _(_: viser.GuiEvent) -> None:
            show.session.moves.amounts.clear()
            for slider in self._sliders:
                slider.value = 0.0
            changed()

    def _switch(self, part: int, box: viser.GuiInputHandle[bool], _: viser.GuiEvent) -> None:
        with self._show.session.lock:
            (self._show.session.hidden.discard if box.value else self._show.session.hidden.add)(part)
        self._changed()

    def _move(self, part: int, slider: viser.GuiInputHandle[float], _: viser.GuiEvent) -> None:
        self._show.session.moves.amounts[part] = float(slider.value)
        self._changed()


def hue_name(part: int, parts: int) -> str:
    """What the colour of a part is called.

    >>> [hue_name(part, 3) for part in range(3)]
    ['red', 'blue', 'green']
    """
    red, green, blue = part_colours(parts)[part].tolist()
    return _HUES[round(colorsys.rgb_to_hsv(red, green, blue)[0] * len(_HUES)) % len(_HUES)]
