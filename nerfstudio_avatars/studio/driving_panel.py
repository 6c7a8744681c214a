"""The tab that says what moves whoever is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import viser

from nerfstudio_avatars.avatars.driving import driving_poses
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.studio.kind_session import MANNERS
from nerfstudio_avatars.studio.kind_show import KindShow
from nerfstudio_avatars.studio.messages import say
from nerfstudio_avatars.studio.transport import Transport
from nerfstudio_avatars.studio.uploads import uploaded

_YAW, _PITCH = 60.0, 40.0
"""Degrees that the object can be turned by to either side."""


class DrivingPanel:
    """Adds its widgets where the panel stands.

    Args:
        server: the page.
        show: the kind.
        changed: called after each change.
    """

    def __init__(self, server: viser.ViserServer, show: KindShow, changed: Callable[[], None]) -> None:
        self._show, self._changed = show, changed
        gui, session = server.gui, show.session
        self._clip = gui.add_dropdown(
            "Driving clip", tuple(session.names), session.chosen, hint="Chooses the clip whose poses are shown."
        )
        manner = gui.add_dropdown(
            "Motion",
            MANNERS,
            session.manner,
            hint="Takes the driver's poses, or starts from the first picture's pose and takes only their changes.",
        )
        yaw = gui.add_slider("Yaw", -_YAW, _YAW, 1.0, 0.0, hint="Turns the object to the side, in degrees.")
        pitch = gui.add_slider("Pitch", -_PITCH, _PITCH, 1.0, 0.0, hint="Turns the object up and down, in degrees.")
        self.transport = Transport(server, session, changed)
        with gui.add_folder("Open a clip"):
            upload = gui.add_upload_button(
                "Upload clip", icon=viser.Icon.UPLOAD, hint="Opens a video, a GIF, or curves (.npz, .json)."
            )
            # The page itself records the clip, and gives it to the button above.
            gui.add_button(
                "Webcam clip", icon=viser.Icon.CAMERA, hint="Opens a clip of five seconds that your webcam records."
            )
            path = gui.add_text("Path", "", hint="Names a file or folder on the computer that this page comes from.")
            opened = gui.add_button("Open", icon=viser.Icon.FOLDER_OPEN)

        @self._clip.on_update
        def _(event: viser.GuiEvent) -> None:
            if event.client is not None and self._clip.value != session.chosen:
                session.choose(self._clip.value)
                self._played()

        @manner.on_update
        def _(event: viser.GuiEvent) -> None:
            session.manner = manner.value
            with show.shared.using():
                lacking = session.manner == "relative" and session.own_pose() is None
            if lacking:
                say(event, "There is no own pose", f"No picture of {session.who} is here: poses are the driver's.")
            changed()

        @yaw.on_update
        def _(_: viser.GuiEvent) -> None:
            session.yaw = float(yaw.value)
            changed()

        @pitch.on_update
        def _(_: viser.GuiEvent) -> None:
            session.pitch = float(pitch.value)
            changed()

        @upload.on_upload
        def _(event: viser.GuiEvent) -> None:
            with uploaded(upload.value) as file:
                self._open(event, file)

        @opened.on_click
        def _(event: viser.GuiEvent) -> None:
            self._open(event, Path(path.value.strip()).expanduser())

    def refresh(self) -> None:
        """Shows what is chosen and where it stands now."""
        names = tuple(self._show.session.names)
        if self._clip.options != names:
            self._clip.options = names
        if self._clip.value != self._show.session.chosen:
            self._clip.value = self._show.session.chosen
        self.transport.refresh()

    def _played(self) -> None:
        with self._show.session.lock:
            self._show.session.playback.play()
        self.refresh()
        self._changed()

    def _open(self, event: viser.GuiEvent, path: Path) -> None:
        try:
            with self._show.shared.using():
                clip = driving_poses(self._show.model, str(path))
        except UserError as error:
            say(event, "This clip cannot be read", str(error))
            return
        known = {one.name for one in self._show.model.clips.table}
        name = f"{path.name} (file)" if path.name in known else path.name
        self._show.session.open_clip(name, clip)
        self._played()
