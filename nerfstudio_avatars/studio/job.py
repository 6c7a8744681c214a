"""Work that takes a while: its button, a bar that tells how far it is, and a button that ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import viser

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.studio.messages import say


class JobStopped(Exception):
    """Raised within the work when somebody wants it to end."""


class Job:
    """Adds its widgets where the panel stands.

    Args:
        gui: of the page.
        label: of the button.
        icon: on it.
        hint: what it does, in a sentence.
        work: gets the page's client and this job, whose `tell` it calls now and then, and gives a file's name and
            content.
        failed: what to say above an error.
    """

    def __init__(
        self,
        gui: viser.GuiApi,
        label: str,
        icon: viser.IconName,
        hint: str,
        work: Callable[[viser.ClientHandle, Job], tuple[str, bytes]],
        failed: str,
    ) -> None:
        self._work, self._failed = work, failed
        self._stop = threading.Event()
        self._start = gui.add_button(label, icon=icon, hint=hint)
        self._told = gui.add_markdown("", visible=False)
        self._bar = gui.add_progress_bar(0.0, visible=False, animated=True)
        self._cancel = gui.add_button("Cancel", icon=viser.Icon.X, visible=False)
        self._start.on_click(self._run)
        self._cancel.on_click(lambda _: self._stop.set())

    @property
    def stopped(self) -> bool:
        """Whether somebody wants it to end."""
        return self._stop.is_set()

    def tell(self, done: float, total: float, title: str) -> None:
        """Says how far the work is.

        Args:
            done: amount of work done.
            total: amount of all work, in the same unit.
            title: what is done.

        Raises:
            JobStopped: if somebody wants it to end.
        """
        if self.stopped:
            raise JobStopped
        if self._told.content != title:
            self._told.content = title
        self._bar.value = 100.0 * done / max(total, 1e-9)

    def _run(self, event: viser.GuiEvent) -> None:
        if event.client is None:
            return
        self._stop.clear()
        self._show(busy=True)
        try:
            event.client.send_file_download(*self._work(event.client, self))
        except JobStopped:
            say(event, "Ended", "Nothing was saved.", seconds=6)
        except UserError as error:
            say(event, self._failed, str(error))
        finally:
            self._show(busy=False)

    def _show(self, busy: bool) -> None:
        self._bar.value, self._told.content = 0.0, "One moment"
        self._start.visible = not busy
        self._cancel.visible = self._bar.visible = self._told.visible = busy
