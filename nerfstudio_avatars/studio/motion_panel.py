"""The tab that chooses what a person does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import viser

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.motion.loading import choose_motion, shipped_motions
from nerfstudio_avatars.studio.messages import say
from nerfstudio_avatars.studio.person_show import PersonShow
from nerfstudio_avatars.studio.session import OWN_POSE, VIDEO, Place
from nerfstudio_avatars.studio.transport import Transport
from nerfstudio_avatars.studio.uploads import uploaded

PLACES: tuple[Place, ...] = ("as recorded", "in place")


class MotionPanel:
    """Adds its widgets where the panel stands.

    Args:
        server: the page.
        show: the person.
        changed: called after each change.
    """

    def __init__(self, server: viser.ViserServer, show: PersonShow, changed: Callable[[], None]) -> None:
        self._show, self._changed = show, changed
        gui, session = server.gui, show.session
        self._motion = gui.add_dropdown(
            "Motion", (VIDEO, *shipped_motions(), OWN_POSE), VIDEO, hint="Chooses what the person does."
        )
        self.transport = Transport(server, session, changed)
        place = gui.add_dropdown(
            "Place", PLACES, "as recorded", hint="Lets a motion go its way, or keeps it above one point."
        )
        with gui.add_folder("Open a motion file"):
            upload = gui.add_upload_button(
                "Upload", icon=viser.Icon.UPLOAD, hint="Opens AMASS, npz, BVH, glTF, and what pose estimators write."
            )
            path = gui.add_text("Path", "", hint="Names a file or folder on the computer that this page comes from.")
            opened = gui.add_button("Open", icon=viser.Icon.FOLDER_OPEN)

        @self._motion.on_update
        def _(event: viser.GuiEvent) -> None:
            if event.client is not None:
                self._choose(event, self._motion.value)

        @place.on_update
        def _(_: viser.GuiEvent) -> None:
            session.put_in(place.value)
            changed()

        @upload.on_upload
        def _(event: viser.GuiEvent) -> None:
            with uploaded(upload.value) as file:
                self._open(event, file, file.name)

        @opened.on_click
        def _(event: viser.GuiEvent) -> None:
            chosen = Path(path.value.strip()).expanduser()
            self._open(event, chosen, chosen.name)

    def refresh(self) -> None:
        """Shows what is chosen and where it stands now."""
        session = self._show.session
        names = tuple(dict.fromkeys((VIDEO, *shipped_motions(), *session.names)))
        names = (*(name for name in names if name != OWN_POSE), OWN_POSE)
        if self._motion.options != names:
            self._motion.options = names
        if self._motion.value != session.chosen:
            self._motion.value = session.chosen
        self.transport.refresh()

    def _choose(self, event: viser.GuiEvent, name: str) -> None:
        session = self._show.session
        if not session.has(name):
            self._add(event, name, name)
        if session.has(name):
            session.choose(name)
            if name != OWN_POSE:
                session.playback.play()
        self.refresh()
        self._changed()

    def _open(self, event: viser.GuiEvent, path: Path, name: str) -> None:
        # A file may bear the name of a shipped motion, or of what is no motion.
        name = f"{name} (file)" if name in (*shipped_motions(), VIDEO, OWN_POSE) else name
        if self._add(event, name, str(path)):
            self._choose(event, name)

    def _add(self, event: viser.GuiEvent, name: str, source: str) -> bool:
        person = self._show.model.person
        try:
            self._show.session.add(name, choose_motion(source, person.motion, person.body))
        except UserError as error:
            say(event, "This motion cannot be read", str(error))
            return False
        return True
