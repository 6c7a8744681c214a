"""The tab that says how the picture looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import viser

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.instant_avatar.data.person_scene import SplitPictures
from nerfstudio_avatars.media.picture_files import read_picture
from nerfstudio_avatars.studio.comparison import Comparison
from nerfstudio_avatars.studio.look import BACKGROUNDS, OUTPUTS
from nerfstudio_avatars.studio.messages import say
from nerfstudio_avatars.studio.overlay_meshes import OVERLAYS
from nerfstudio_avatars.studio.person_show import PersonShow
from nerfstudio_avatars.studio.scene_overlay import SceneOverlay
from nerfstudio_avatars.studio.schedule import Schedule
from nerfstudio_avatars.studio.session import VIDEO
from nerfstudio_avatars.studio.uploads import uploaded

_SHARPNESS = (128, 2048, 128)
"""Least and largest side of a still picture in pixels, and the step between two."""


class LookPanel:
    """Adds its widgets where the panel stands.

    Args:
        server: the page.
        show: the person.
        changed: called after each change.
        schedule: says how large still pictures are.
        overlay: laid over the picture.
        pictures: opens those of the training.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        show: PersonShow,
        changed: Callable[[], None],
        schedule: Schedule,
        overlay: SceneOverlay,
        pictures: Callable[[], SplitPictures],
    ) -> None:
        self._show, self._changed, self._schedule = show, changed, schedule
        self._overlay, self._pictures = overlay, pictures
        self._opened: Comparison | None = None
        gui = server.gui
        output = gui.add_dropdown("Output", OUTPUTS, "rgb", hint="Chooses what is shown of what was rendered.")
        output.on_update(lambda _: self._set(output=output.value))
        self._add_background(gui)
        self._add_sharpness(gui)
        self._add_overlay(gui)
        self._add_comparison(gui)

    def _add_background(self, gui: viser.GuiApi) -> None:
        background = gui.add_dropdown("Background", BACKGROUNDS, "white", hint="Chooses what is behind the person.")
        colour = gui.add_rgb("Colour", self._show.look.colour, hint="Sets the colour behind the person.")
        picture = gui.add_upload_button(
            "Background picture", icon=viser.Icon.PHOTO, hint="Opens a picture to show behind the person."
        )
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

    def _add_sharpness(self, gui: viser.GuiApi) -> None:
        low, high, step = _SHARPNESS
        hint = "Sets the side of the picture in pixels when nothing moves."
        sharp = gui.add_slider("Sharpness", low, high, step, self._schedule.full_side, hint=hint)

        @sharp.on_update
        def _(_: viser.GuiEvent) -> None:
            self._schedule.full_side = int(sharp.value)
            self._changed()

    def _add_overlay(self, gui: viser.GuiApi) -> None:
        overlay = gui.add_dropdown(
            "Overlay",
            OVERLAYS,
            OVERLAYS[0],
            hint="Lays the body model over the picture, the mesh that leaves as a file, or the cells that rays visit.",
        )

        @overlay.on_update
        def _(event: viser.GuiEvent) -> None:
            try:
                self._overlay.choose(overlay.value)
            except UserError as error:
                say(event, "There is no such overlay", str(error))

    def _add_comparison(self, gui: viser.GuiApi) -> None:
        compare = gui.add_checkbox(
            "Compare with the video",
            False,
            hint="Shows the training picture of the frame, the avatar from the same camera, and how they differ.",
        )
        self._figure = gui.add_markdown("", visible=False)

        @compare.on_update
        def _(event: viser.GuiEvent) -> None:
            try:
                self._compare(bool(compare.value))
            except UserError as error:
                compare.value = False
                say(event, "There is nothing to compare with", str(error))

    def _compare(self, wanted: bool) -> None:
        if wanted and self._opened is None:
            self._opened = Comparison(self._show.stage, self._pictures())
        self._show.comparison = self._opened if wanted else None
        if wanted:
            self._show.session.choose(VIDEO)
        self.refresh()
        self._changed()

    def refresh(self) -> None:
        """Says how far the avatar is from the training picture that is shown."""
        compared = self._show.compared
        self._figure.visible = self._show.comparison is not None
        told = "Choose the training video in the tab Motion." if compared is None else _told(compared)
        if self._figure.content != told:
            self._figure.content = told

    def _set(self, **change: object) -> None:
        self._show.look = replace(self._show.look, **change)  # type: ignore[arg-type]
        self._changed()


def _told(compared: Comparison) -> str:
    if compared.figure is None:
        return ""
    smaller = "" if compared.share == 1 else f", at {100 * compared.share:.0f} % of the video's resolution"
    return f"Frame {compared.frame}: {compared.figure:.1f} dB PSNR in this part, on white{smaller}."
