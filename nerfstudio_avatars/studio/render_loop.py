"""The thread that draws for all pages."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np

from nerfstudio_avatars.studio.schedule import Schedule, Task
from nerfstudio_avatars.studio.sight import Sight

_TICK = 0.02
"""Longest time between two looks at the clock, in seconds."""


@runtime_checkable
class Show(Protocol):
    """What is drawn."""

    @property
    def moving(self) -> bool:
        """Whether it moves by itself."""

    def advance(self, seconds: float) -> None:
        """Lets time pass."""

    def draw(self, sight: Sight, side: int, stop: Callable[[], bool]) -> np.ndarray | None:
        """(height, width, 3), 8 bits; None if `stop` said so.

        Args:
            sight: from where.
            side: of the picture, in pixels; the longer one.
            stop: whether it is still wanted.
        """


class RenderLoop(threading.Thread):
    """Draws what its schedule says, until it is stopped.

    Args:
        show: what to draw.
        send: takes the page, its picture, and whether it is a sharp one.
    """

    def __init__(self, show: Show, send: Callable[[int, np.ndarray, bool], None]) -> None:
        super().__init__(daemon=True, name="studio")
        self.schedule = Schedule()
        self._show, self._send = show, send
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._drawing = threading.Event()
        self._running = True
        self._clock, self._last = threading.Lock(), time.monotonic()

    # From other threads -----------------------------------------------------------------------------------------------

    def watch(self, page: int, sight: Sight) -> None:
        """A page has come, or its camera has moved."""
        with self._lock:
            self.schedule.watch(page, sight, time.monotonic())
        self._wake.set()

    def leave(self, page: int) -> None:
        """A page was closed."""
        with self._lock:
            self.schedule.leave(page)

    def tick(self) -> None:
        """Lets time pass until now."""
        with self._clock:
            now, last = time.monotonic(), self._last
            self._last = now
            self._show.advance(now - last)

    def changed(self) -> None:
        """Something else is to be shown."""
        with self._lock:
            self.schedule.touched(time.monotonic())
        self._wake.set()

    def learnt(self) -> bool:
        """A training step was done; whether it will be shown."""
        with self._lock:
            shown = bool(self.schedule.pages) and self.schedule.learnt(time.monotonic())
        if shown:
            self._wake.set()
        return shown

    def give_way(self, moved_seconds: float = 0.1) -> None:
        """Called between two training steps: waits while somebody moves the camera, or a picture wants the model."""
        while self._running and (self._drawing.is_set() or self._moved(moved_seconds)):
            time.sleep(0.003)

    def _moved(self, seconds: float) -> bool:
        with self._lock:
            return self.schedule.recently_moved(time.monotonic(), seconds)

    def stop(self) -> None:
        """Ends the thread after the picture at hand."""
        self._running = False
        self._wake.set()

    # The thread -------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Draws until `stop`."""
        while self._running:
            self.tick()
            with self._lock:
                task = self.schedule.next(time.monotonic(), self._show.moving)
            if task is None:
                self._wake.wait(_TICK)
                self._wake.clear()
                continue
            try:
                self._draw(task)
            except Exception:
                # One picture that fails, such as in a training that breaks down, must not end all others.
                traceback.print_exc()
                time.sleep(1.0)

    def _draw(self, task: Task) -> None:
        begin = time.monotonic()
        self._drawing.set()
        try:
            picture = self._show.draw(task.sight, task.side, lambda: self._outdated(task))
        finally:
            self._drawing.clear()
        if picture is None:
            return
        self._send(task.page, picture, task.sharp)
        now = time.monotonic()
        with self._lock:
            self.schedule.done(task, now, now - begin)

    def _outdated(self, task: Task) -> bool:
        with self._lock:
            return not self._running or self.schedule.outdated(task)
