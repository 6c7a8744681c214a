"""The tab that says how the picture looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import viser

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.media.picture_files import read_picture
from nerfstudio_avatars.studio.body_overlay import BodyOverlay
from nerfstudio_avatars.studio.look import BACKGROUNDS, OUTPUTS
from nerfstudio_avatars.studio.messages import say
from nerfstudio_avatars.studio.person_show import PersonShow
from nerfstudio_avatars.studio.uploads import uploaded

_SHARPNESS = (128, 2048, 128)
"""Least and largest side of a still picture in pixels, and the step between two."""


class LookPanel:
    """Adds its widgets where the panel stands.

    Args:
        server: the page.
        show: the person.
        changed: called after each change.
        sharpness: called with the side of still pictures, in pixels.
        side: it is now.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        show: PersonShow,
        changed: Callable[[], None],
        sharpness: Callable[[int], None],
        side: int,
    ) -> None:
        self._show, self._changed = show, changed
        gui = server.gui
        output = gui.add_dropdown("Output", OUTPUTS, "rgb", hint="Chooses what is shown of what was rendered.")
        background = gui.add_dropdown("Background", BACKGROUNDS, "white", hint="Chooses what is behind the person.")
        colour = gui.add_rgb("Colour", show.look.colour, hint="Sets the colour behind the person.")
        picture = gui.add_upload_button(
            "Background picture", icon=viser.Icon.PHOTO, hint="Opens a picture to show behind the person."
        )
        low, high, step = _SHARPNESS
        sharp = gui.add_slider(
            "Sharpness", low, high, step, side, hint="Sets the side of the picture in pixels when nothing moves."
        )

        self.overlay = BodyOverlay(server, show)
        body = gui.add_checkbox("Body", False, hint="Shows the body model over the picture.")
        body.on_update(lambda _: self.overlay.switch(bool(body.value)))

        output.on_update(lambda _: self._set(output=output.value))
        background.on_update(lambda _: self._set(background=background.value))

        @colour.on_update
        def _(_: viser.GuiEvent) -> None:
            background.value = "colour"
            self._set(colour=colour.value, background="colour")

        @picture.on_upload
        def _(event: viser.GuiEvent) -> None:
            try:
                with uploaded(picture.value) as path:
                    self._set(picture=read_picture(path).rgb, background="picture")
                background.value = "picture"
            except UserError as error:
                say(event, "This picture cannot be read", str(error))

        @sharp.on_update
        def _(_: viser.GuiEvent) -> None:
            sharpness(int(sharp.value))
            changed()

    def _set(self, **change: object) -> None:
        self._show.look = replace(self._show.look, **change)  # type: ignore[arg-type]
        self._changed()
