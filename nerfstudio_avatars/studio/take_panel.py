"""The tab that takes pictures and films."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import viser

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.motion.writing import ENDINGS
from nerfstudio_avatars.studio.messages import say
from nerfstudio_avatars.studio.person_show import PersonShow
from nerfstudio_avatars.studio.sight import Sight
from nerfstudio_avatars.studio.takes import Film, FilmCamera, take_film, take_motion, take_picture

_CAMERAS: tuple[FilmCamera, ...] = ("as seen", "turning", "camera path")
_NO_PATH = "none yet"


class TakePanel:
    """Adds its widgets where the panel stands.

    Args:
        server: the page.
        show: the person.
        sight: gives the camera of whoever asked.
        paths: the folder of camera paths.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        show: PersonShow,
        sight: Callable[[viser.ClientHandle], Sight],
        paths: Path,
    ) -> None:
        self._show, self._sight, self._paths = show, sight, paths
        self._stop = threading.Event()
        gui = server.gui
        with gui.add_folder("Picture"):
            side = gui.add_number("Pixels", 1024, min=16, max=8192, step=1, hint="Sets the longer side of the picture.")
            picture = gui.add_button("Take picture", icon=viser.Icon.CAMERA, hint="Saves what is shown now as a PNG.")
        with gui.add_folder("Film"):
            camera = gui.add_dropdown("Camera", _CAMERAS, "as seen", hint="Chooses how the camera moves.")
            self._path = gui.add_dropdown("Camera path", (_NO_PATH,), _NO_PATH, visible=False)
            seconds = gui.add_number("Seconds", 0.0, min=0.0, max=600.0, step=0.5, hint="0 plays the motion once.")
            fps = gui.add_number("Frames per second", 24, min=1, max=120, step=1)
            pixels = gui.add_number(
                "Pixels", 720, min=16, max=4096, step=2, hint="Sets the longer side of the pictures."
            )
            self._film = gui.add_button("Film", icon=viser.Icon.MOVIE, hint="Films the chosen motion as an mp4.")
            self._cancel = gui.add_button("Cancel", icon=viser.Icon.X, visible=False)
            self._bar = gui.add_progress_bar(0.0, visible=False, animated=True)

        with gui.add_folder("Motion"):
            ending = gui.add_dropdown(
                "File", ENDINGS, ENDINGS[0], hint="Chooses BVH, npz, or GLB with a skeleton alone."
            )
            motion = gui.add_button("Take motion", icon=viser.Icon.RUN, hint="Saves the chosen motion, in its place.")

        @motion.on_click
        def _(event: viser.GuiEvent) -> None:
            if event.client is not None:
                event.client.send_file_download(f"motion{ending.value}", take_motion(show, ending.value))

        @camera.on_update
        def _(_: viser.GuiEvent) -> None:
            self._path.visible = camera.value == "camera path"
            self._path.options = tuple(sorted(path.name for path in paths.glob("*.json"))) or (_NO_PATH,)

        @picture.on_click
        def _(event: viser.GuiEvent) -> None:
            if event.client is not None:
                taken = take_picture(show, sight(event.client), int(side.value))
                event.client.send_file_download("avatar.png", taken)

        @self._film.on_click
        def _(event: viser.GuiEvent) -> None:
            chosen = None if self._path.value == _NO_PATH else paths / self._path.value
            film = Film(camera.value, chosen, float(seconds.value), int(fps.value), int(pixels.value))
            self._shoot(event, film)

        self._cancel.on_click(lambda _: self._stop.set())

    def _shoot(self, event: viser.GuiEvent, film: Film) -> None:
        if event.client is None:
            return
        self._stop.clear()
        self._busy(True)
        try:
            taken = take_film(self._show, self._sight(event.client), film, self._progress, self._stop.is_set)
            if taken is not None:
                event.client.send_file_download("avatar.mp4", taken)
        except UserError as error:
            say(event, "Nothing was filmed", str(error))
        finally:
            self._busy(False)

    def _busy(self, busy: bool) -> None:
        self._bar.value = 0.0
        self._film.visible, self._cancel.visible, self._bar.visible = not busy, busy, busy

    def _progress(self, done: int, total: int) -> None:
        self._bar.value = 100.0 * done / total
