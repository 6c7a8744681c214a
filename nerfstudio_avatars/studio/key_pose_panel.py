"""The part of the tab Pose that strings poses together."""

from __future__ import annotations

from collections.abc import Callable

import viser

from nerfstudio_avatars.studio.key_poses import KeyPose, motion_of
from nerfstudio_avatars.studio.messages import say
from nerfstudio_avatars.studio.person_show import PersonShow

NAME = "key poses"
"""What their motion is called among the others."""


class KeyPosePanel:
    """Adds its widgets where the panel stands.

    Args:
        server: the page.
        show: the person.
        changed: called after each change.
    """

    def __init__(self, server: viser.ViserServer, show: PersonShow, changed: Callable[[], None]) -> None:
        self._show, self._changed = show, changed
        self._keys: list[KeyPose] = []
        gui = server.gui
        with gui.add_folder("Key poses", expand_by_default=False):
            self._list = gui.add_markdown(_told([]))
            seconds = gui.add_number(
                "Seconds", 0.8, 0.1, 60.0, 0.1, hint="Sets the time that the body takes to get to the pose."
            )
            add = gui.add_button("Add key pose", icon=viser.Icon.PLUS, hint="Adds the pose that is shown now.")
            remove = gui.add_button("Remove the last", icon=viser.Icon.MINUS)
            closed = gui.add_checkbox("Back to the first", True, hint="Lets the last pose lead back to the first.")
            play = gui.add_button("Play key poses", icon=viser.Icon.PLAYER_PLAY)

        @add.on_click
        def _(_: viser.GuiEvent) -> None:
            self._keys.append(KeyPose(show.session.state(), float(seconds.value)))
            self._list.content = _told(self._keys)

        @remove.on_click
        def _(_: viser.GuiEvent) -> None:
            del self._keys[-1:]
            self._list.content = _told(self._keys)

        @play.on_click
        def _(event: viser.GuiEvent) -> None:
            if len(self._keys) < 2:
                say(event, "Nothing to play", "Add two key poses first.", seconds=6)
                return
            self._play(bool(closed.value))

    def _play(self, closed: bool) -> None:
        session = self._show.session
        with session.lock:
            session.add(NAME, motion_of(self._keys, self._show.model.person.motion, closed))
            session.choose(NAME)
            session.playback.play()
        self._changed()


def _told(keys: list[KeyPose]) -> str:
    if not keys:
        return "None yet. Make a pose, add it, make the next one."
    times = ", ".join(f"{key.seconds:g} s" for key in keys[1:])
    return f"{len(keys)} key poses{f', {times} apart' if times else ''}. The tab Take saves their motion."
