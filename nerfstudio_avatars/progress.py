"""The progress bar of everything that takes more than a few seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@runtime_checkable
class Listener(Protocol):
    """Hears of progress. What it raises ends the work."""

    def __call__(self, done: float, total: float, title: str) -> None:
        """Called with the work done so far, all of it, and what is done."""


_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Lets somebody hear of all progress that this thread makes in the block, as a web page that waits for it.

    Args:
        listener: hears of it.
    """
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


class ProgressBar:
    """A progress bar, made by `progress_bar`."""

    def __init__(self, progress: Progress, task: TaskID, title: str) -> None:
        self._progress, self._task, self._title = progress, task, title
        self._listener = _LISTENER.get()

    def __call__(self, done: float, total: float, title: str | None = None) -> None:
        """Shows the work done so far.

        Args:
            done: amount of work done.
            total: amount of all work, in the same unit.
            title: what is done from now on, if that changes.
        """
        self._progress.update(self._task, completed=done, total=total, description=title)
        self._title = title or self._title
        if self._listener is not None:
            self._listener(done, total, self._title)


_open: list[Progress] = []
"""The display that is shown now, if any: bars that begin meanwhile join it."""


@contextmanager
def progress_bar(title: str) -> Iterator[ProgressBar]:
    """A bar in the terminal, gone when the block ends. Nothing is printed where the output is no terminal.

    A bar within the block of another one is shown below it.

    >>> with progress_bar("Rendering") as bar:
    ...     for done in range(10):
    ...         bar(done + 1, 10)

    Args:
        title: what is done.
    """
    if _open:
        (progress,) = _open
        task = progress.add_task(title, total=None)
        try:
            yield ProgressBar(progress, task, title)
        finally:
            progress.remove_task(task)
        return
    from rich import get_console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = get_console()
    shown = console.is_terminal or console.is_jupyter
    with Progress(*columns, console=console, transient=True, disable=not shown) as progress:
        _open.append(progress)
        try:
            yield ProgressBar(progress, progress.add_task(title, total=None), title)
        finally:
            _open.clear()
