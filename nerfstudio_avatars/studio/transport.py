"""Widgets that play a motion: play, pause, frames, speed, loop."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import Protocol, runtime_checkable

import viser

from nerfstudio_avatars.studio.playback import Playback

_BACK, _ON = "Previous", "Next"
_SPEEDS = (0.1, 2.0, 0.05)
"""Slowest and fastest speed, and the step between two."""


@runtime_checkable
class Played(Protocol):
    """What has a playback."""

    lock: RLock
    playback: Playback


class Transport:
    """Adds the widgets where the panel stands.

    Args:
        server: the page.
        played: what they play.
        changed: called after each change by hand.
    """

    def __init__(self, server: viser.ViserServer, played: Played, changed: Callable[[], None]) -> None:
        self._server, self._played, self._changed = server, played, changed
        gui = server.gui
        self._folder = gui.add_folder("Play")
        with self._folder:
            self._play = gui.add_button(
                "Play", icon=viser.Icon.PLAYER_PLAY, hint="Starts and stops the motion, as the space bar does."
            )
            self._pause = gui.add_button(
                "Pause",
                icon=viser.Icon.PLAYER_PAUSE,
                hint="Starts and stops the motion, as the space bar does.",
                visible=False,
            )
            self._frame = self._slider()
            step = gui.add_button_group(
                "Step", (_BACK, _ON), hint="Goes one frame back or on, as comma and full stop do."
            )
            low, high, finest = _SPEEDS
            speed = gui.add_slider("Speed", low, high, finest, 1.0, hint="Multiplies the motion's own speed.")
            loop = gui.add_checkbox("Loop", True, hint="Lets the motion begin again at its end.")
        self._play.on_click(lambda _: self._do(lambda playback: playback.play()))
        self._pause.on_click(lambda _: self._do(lambda playback: playback.pause()))
        step.on_click(lambda _: self._step(1 if step.value == _ON else -1))
        speed.on_update(lambda _: self._do(lambda playback: setattr(playback, "speed", float(speed.value))))
        loop.on_update(lambda _: self._do(lambda playback: setattr(playback, "loop", bool(loop.value))))
        self.refresh()

    def refresh(self) -> None:
        """Shows where the playback is now."""
        playback = self._played.playback
        if self._last != playback.last:
            old = self._frame
            with self._folder:
                self._frame = self._slider(old.order)
            old.remove()
        self._play.visible, self._pause.visible = not playback.playing, playback.playing
        frame = round(playback.shown)
        if self._frame.value != frame:
            self._frame.value = frame

    def _slider(self, order: float | None = None) -> viser.GuiInputHandle[int]:
        playback = self._played.playback
        self._last = playback.last
        slider = self._server.gui.add_slider(
            "Frame",
            0,
            max(self._last, 1),
            1,
            0,
            disabled=self._last == 0,
            order=order,
            hint="Chooses the frame that is shown.",
        )

        @slider.on_update
        def _(event: viser.GuiEvent) -> None:
            if event.client is not None:
                frame = float(slider.value)
                self._do(lambda playback: _hold(playback, frame))

        return slider

    def _step(self, frames: int) -> None:
        self._do(lambda playback: _hold(playback, round(playback.position) + frames))

    def _do(self, change: Callable[[Playback], object]) -> None:
        with self._played.lock:
            change(self._played.playback)
        self.refresh()
        self._changed()


def _hold(playback: Playback, frame: float) -> None:
    playback.pause()
    playback.seek(frame)
