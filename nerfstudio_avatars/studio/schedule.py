"""Which picture is drawn next, for whom, and how large."""

from __future__ import annotations

from dataclasses import dataclass

from nerfstudio_avatars.studio.picture_budget import PictureBudget
from nerfstudio_avatars.studio.sight import Sight

STILL_SECONDS = 0.25
"""Time without a touch after which a view counts as still, in seconds."""
_MOVING_SECONDS = 0.085
"""Time that a picture may take while something moves, in seconds."""
_SOONEST = 1 / 30
"""Least time from one picture to the next for the same page, in seconds."""
TRAINING_SHARE = 0.04
"""Share of the time that views of a training may take, as long as nobody touches anything."""
TRAINING_SECONDS = 3.0, 0.15
"""Least time between two views of a training, and time that each may take, in seconds."""


@dataclass
class Watcher:
    """A page."""

    sight: Sight
    moved: float
    """When its camera last moved."""
    drawn: Task | None = None
    """Its last picture."""
    begun: float = -1e9
    """When its last picture was begun."""


@dataclass(frozen=True)
class Task:
    """A picture to draw."""

    page: int
    sight: Sight
    version: int
    side: int
    """Of the picture, in pixels; the longer one."""
    sharp: bool
    """Whether nothing moves."""


class Schedule:
    """Decides; knows neither threads nor clocks.

    While something moves, pictures are as large as time allows; as soon as it is still, one is drawn in full; and
    nothing is drawn twice.

    Args:
        full_side: the longer side of a still picture, in pixels.
    """

    def __init__(self, full_side: int = 512) -> None:
        self.full_side = full_side
        self.training = False
        self.budget = PictureBudget(_MOVING_SECONDS)
        self.version = 0
        self._touched = -1e9
        self._pages: dict[int, Watcher] = {}
        self._training_view = (-1e9, 0.0)

    @property
    def pages(self) -> list[int]:
        """Who watches."""
        return list(self._pages)

    def watch(self, page: int, sight: Sight, now: float) -> None:
        """A page has come, or its camera has moved."""
        watcher = self._pages.get(page)
        if watcher is None:
            self._pages[page] = Watcher(sight, now)
        elif watcher.sight != sight:
            watcher.sight, watcher.moved = sight, now

    def leave(self, page: int) -> None:
        """A page was closed."""
        self._pages.pop(page, None)

    def touched(self, now: float) -> None:
        """Somebody has changed what is shown."""
        self.version += 1
        self._touched = now

    def learnt(self, now: float) -> bool:
        """A training step was done; whether it is time to show it."""
        last, cost = self._training_view
        if now - last < max(TRAINING_SECONDS[0], cost / TRAINING_SHARE):
            return False
        self._training_view = now, cost
        self.version += 1
        return True

    def recently_moved(self, now: float, seconds: float) -> bool:
        """Whether somebody's camera has moved within some seconds."""
        return any(now - watcher.moved < seconds for watcher in self._pages.values())

    def next(self, now: float, playing: bool) -> Task | None:
        """The picture that is due; None if there is none now.

        Args:
            now: a clock's time, in seconds.
            playing: whether what is shown moves by itself.
        """
        due = [task for page in self._pages if (task := self._task(page, now, playing)) is not None]
        return min(due, key=lambda task: self._pages[task.page].begun, default=None)

    def done(self, task: Task, now: float, seconds: float) -> None:
        """A picture was drawn and sent, which took so long."""
        self.budget.drawn(task.side * task.side, seconds)
        if self.training:
            self._training_view = self._training_view[0], seconds
        watcher = self._pages.get(task.page)
        if watcher is not None:
            watcher.drawn = task
            watcher.begun = now - seconds

    def outdated(self, task: Task) -> bool:
        """Whether nobody wants this picture any more.

        One that is drawn while something moves is wanted although it comes late: if each move of the camera stopped
        it, nothing would be seen until the camera rests.
        """
        watcher = self._pages.get(task.page)
        if watcher is None:
            return True
        return task.sharp and (watcher.sight, self.version) != (task.sight, task.version)

    def _task(self, page: int, now: float, playing: bool) -> Task | None:
        watcher = self._pages[page]
        handled = now - max(watcher.moved, self._touched) < STILL_SECONDS
        moving = handled or playing
        rest = _SOONEST
        if self.training and not handled:
            # The training has the time of two pictures after each.
            rest = max(rest, 3 * self._training_view[1])
        if now - watcher.begun < rest:
            return None
        side = self.budget.side() if moving else self._still_side()
        drawn = watcher.drawn
        if drawn is not None and not playing and (drawn.sight, drawn.version) == (watcher.sight, self.version):
            # How large a view of a training may be changes with every one, which is no reason to draw it again.
            if moving or (drawn.sharp and (self.training or drawn.side == side)):
                return None
        return Task(page, watcher.sight, self.version, side, sharp=not moving)

    def _still_side(self) -> int:
        return min(self.full_side, self.budget.side(TRAINING_SECONDS[1])) if self.training else self.full_side
