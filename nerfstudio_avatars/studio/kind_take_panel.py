"""The tab that takes pictures, films and curves of a kind."""

from __future__ import annotations

import threading
from collections.abc import Callable

import viser

from nerfstudio_avatars.avatars.driving_clip import CURVES
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.studio.kind_show import KindShow
from nerfstudio_avatars.studio.kind_takes import (
    MESHES,
    KindCamera,
    KindFilm,
    take_curves,
    take_kind_film,
    take_kind_picture,
    take_mesh,
)
from nerfstudio_avatars.studio.messages import say
from nerfstudio_avatars.studio.sight import Sight

_CAMERAS: tuple[KindCamera, ...] = ("as seen", "turning")


class KindTakePanel:
    """Adds its widgets where the panel stands.

    Args:
        server: the page.
        show: the kind.
        sight: gives the camera of whoever asked.
    """

    def __init__(self, server: viser.ViserServer, show: KindShow, sight: Callable[[viser.ClientHandle], Sight]) -> None:
        self._show, self._sight = show, sight
        self._stop, self._stop_mesh = threading.Event(), threading.Event()
        gui = server.gui
        with gui.add_folder("Picture"):
            side = gui.add_number("Pixels", 512, min=16, max=4096, step=1, hint="Sets the longer side of the picture.")
            picture = gui.add_button("Take picture", icon=viser.Icon.CAMERA, hint="Saves what is shown now as a PNG.")
        with gui.add_folder("Film"):
            camera = gui.add_dropdown(
                "Camera", _CAMERAS, "as seen", hint="Films as it is seen now, or turns the object to and fro besides."
            )
            pixels = gui.add_number(
                "Pixels", 512, min=16, max=4096, step=2, hint="Sets the longer side of the pictures."
            )
            self._film = gui.add_button("Film", icon=viser.Icon.MOVIE, hint="Films the clip once, as an mp4.")
            self._cancel = gui.add_button("Cancel film", icon=viser.Icon.X, visible=False)
            self._bar = gui.add_progress_bar(0.0, visible=False, animated=True)
        with gui.add_folder("Mesh"):
            kind = gui.add_dropdown("Mesh file", MESHES, MESHES[0], hint="Chooses GLB, or a page that shows it.")
            self._mesh = gui.add_button(
                "Take mesh",
                icon=viser.Icon.CUBE,
                hint="Saves who is shown, with the clip; takes a minute.",
            )
            self._cancel_mesh = gui.add_button("Cancel mesh", icon=viser.Icon.X, visible=False)
            self._mesh_bar = gui.add_progress_bar(0.0, visible=False, animated=True)
        with gui.add_folder("Motion"):
            ending = gui.add_dropdown("File", CURVES, CURVES[0], hint="Chooses the layout of the file.")
            motion = gui.add_button(
                "Take motion", icon=viser.Icon.CHART_LINE, hint="Saves the poses of the parts, which drive others too."
            )

        @picture.on_click
        def _(event: viser.GuiEvent) -> None:
            if event.client is not None:
                taken = take_kind_picture(show, sight(event.client), int(side.value))
                event.client.send_file_download("picture.png", taken)

        @self._film.on_click
        def _(event: viser.GuiEvent) -> None:
            self._shoot(event, KindFilm(camera.value, int(pixels.value)))

        @motion.on_click
        def _(event: viser.GuiEvent) -> None:
            if event.client is not None:
                event.client.send_file_download(f"motion{ending.value}", take_curves(show, ending.value))

        @self._mesh.on_click
        def _(event: viser.GuiEvent) -> None:
            self._make(event, kind.value)

        self._cancel.on_click(lambda _: self._stop.set())
        self._cancel_mesh.on_click(lambda _: self._stop_mesh.set())

    def _shoot(self, event: viser.GuiEvent, film: KindFilm) -> None:
        if event.client is None:
            return
        self._stop.clear()
        self._busy(True)
        try:
            taken = take_kind_film(self._show, self._sight(event.client), film, self._progress, self._stop.is_set)
            if taken is not None:
                event.client.send_file_download("film.mp4", taken)
        except UserError as error:
            say(event, "Nothing was filmed", str(error))
        finally:
            self._busy(False)

    def _make(self, event: viser.GuiEvent, ending: str) -> None:
        if event.client is None:
            return
        self._stop_mesh.clear()
        self._making(True)
        try:
            taken = take_mesh(self._show, ending, self._drawn, self._stop_mesh.is_set)
            if taken is not None:
                event.client.send_file_download(f"mesh{ending}", taken)
        except UserError as error:
            say(event, "There is no mesh", str(error))
        finally:
            self._making(False)

    def _making(self, making: bool) -> None:
        self._mesh_bar.value = 0.0
        self._mesh.visible, self._cancel_mesh.visible, self._mesh_bar.visible = not making, making, making

    def _drawn(self, done: int, total: int) -> None:
        self._mesh_bar.value = 100.0 * done / total

    def _busy(self, busy: bool) -> None:
        self._bar.value = 0.0
        self._film.visible, self._cancel.visible, self._bar.visible = not busy, busy, busy

    def _progress(self, done: int, total: int) -> None:
        self._bar.value = 100.0 * done / total
