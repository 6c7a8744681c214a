"""The tab that says who is shown: somebody who was learnt, somebody who does not exist, or somebody in a picture."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import viser

from nerfstudio_avatars.avatars.identity import Identity, read_pictures
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.studio.kind_session import NOBODY
from nerfstudio_avatars.studio.kind_show import KindShow
from nerfstudio_avatars.studio.messages import say
from nerfstudio_avatars.studio.uploads import uploaded

_ALONE = "nobody else"


class _Cancelled(Exception):
    """Whoever waited does not want to any more."""


class WhoPanel:
    """Adds its widgets where the panel stands.

    Args:
        server: the page.
        show: the kind.
        changed: called after each change.
    """

    def __init__(self, server: viser.ViserServer, show: KindShow, changed: Callable[[], None]) -> None:
        self._show, self._changed = show, changed
        self._stop, self._busy = threading.Event(), threading.Lock()
        self._strangers = 0
        gui, session = server.gui, show.session
        self._who = gui.add_dropdown("Who", self._names(), session.who, hint="Chooses who is shown.")
        stranger = gui.add_button(
            "Somebody who does not exist", icon=viser.Icon.DICE, hint="Draws another one with every click."
        )
        with gui.add_folder("Blend"):
            self._other = gui.add_dropdown(
                "With", (_ALONE, *self._names()), _ALONE, hint="Chooses whom they are blended with."
            )
            self._share = gui.add_slider("Share", 0.0, 1.0, 0.05, 0.0, hint="Sets how much of the other is in it.")
        with gui.add_folder("Your own picture"):
            self._upload = gui.add_upload_button(
                "Upload picture",
                icon=viser.Icon.UPLOAD,
                mime_type="image/*,video/*",
                hint="Fits somebody to a picture, or to a clip, that is framed as those of the training.",
            )
            # The page itself takes the picture, and gives it to the button above.
            gui.add_button(
                "Webcam picture", icon=viser.Icon.CAMERA, hint="Fits somebody to a picture that your webcam takes."
            )
            self._bar = gui.add_progress_bar(0.0, visible=False, animated=True)
            self._cancel = gui.add_button("Cancel", icon=viser.Icon.X, visible=False)

        @self._who.on_update
        def _(event: viser.GuiEvent) -> None:
            if event.client is not None:
                self._choose(self._who.value)

        @stranger.on_click
        def _(_: viser.GuiEvent) -> None:
            self._strangers += 1
            self._choose(f"{NOBODY}{self._strangers}")

        @self._other.on_update
        def _(event: viser.GuiEvent) -> None:
            if event.client is not None:
                other = self._other.value
                with session.lock:
                    session.other = None if other == _ALONE else other
                    session.share = session.share or 0.5
                self.refresh()
                changed()

        @self._share.on_update
        def _(event: viser.GuiEvent) -> None:
            if event.client is not None:
                session.share = float(self._share.value)
                changed()

        @self._upload.on_upload
        def _(event: viser.GuiEvent) -> None:
            with uploaded(self._upload.value) as file:
                self._find(event, file)

        self._cancel.on_click(lambda _: self._stop.set())

    def refresh(self) -> None:
        """Shows who is chosen now."""
        session, names = self._show.session, self._names()
        for field, options, value in (
            (self._who, names, session.who),
            (self._other, (_ALONE, *names), session.other or _ALONE),
        ):
            if field.options != options:
                field.options = options
            if field.value != value:
                field.value = value
        if self._share.value != session.share:
            self._share.value = session.share

    def _names(self) -> tuple[str, ...]:
        strangers = (f"{NOBODY}{number + 1}" for number in range(max(self._strangers, 1)))
        return (*self._show.session.people, *strangers)

    def _choose(self, name: str) -> None:
        with self._show.session.lock:
            self._show.session.who = name
        self.refresh()
        self._changed()

    def _find(self, event: viser.GuiEvent, file: Path) -> None:
        """Fits somebody; pictures are drawn meanwhile."""
        if not self._busy.acquire(blocking=False):
            say(event, "One after the other", "Somebody else is being fitted. Wait, or cancel that.", seconds=8)
            return
        self._stop.clear()
        self._working(True)
        told: list[str] = []
        show = self._show
        try:
            with show.shared.using():
                pictures, masks = read_pictures(show.model, (file,), tell=told.append)
                found = show.model.invert(pictures, self._progress, masks)
            name = self._free(file.stem)
            show.session.add_person(name, Identity(found.cube, found.pose, found))
            errors = f"Mean absolute error of the picture: {found.errors['tuned']:.3f}."
            say(event, f"{name} is here", " ".join([*told, errors]), seconds=12)
        except UserError as error:
            say(event, "Nobody was found", str(error))
        except _Cancelled:
            say(event, "Cancelled", "Nobody was added.", seconds=4)
        finally:
            self._working(False)
            self._busy.release()
        self.refresh()
        self._changed()

    def _free(self, name: str) -> str:
        """A name that nobody has."""
        taken, number = {*self._show.session.people}, 2
        if name not in taken and not name.startswith(NOBODY):
            return name
        while f"{name} ({number})" in taken:
            number += 1
        return f"{name} ({number})"

    def _progress(self, done: int, total: int) -> None:
        self._bar.value = 100.0 * done / total
        if self._stop.is_set():
            raise _Cancelled
        self._show.shared.give_way()

    def _working(self, working: bool) -> None:
        self._bar.value = 0.0
        # viser 0.2.7 shows such buttons always.
        self._upload.disabled, self._bar.visible, self._cancel.visible = working, working, working
