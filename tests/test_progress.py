"""A bar in a terminal, and silence elsewhere."""

import io

import pytest
import rich
from rich.console import Console

from nerfstudio_avatars.progress import listening, progress_bar


@pytest.fixture
def console(monkeypatch):
    def replace(terminal):
        console = Console(file=io.StringIO(), force_terminal=terminal, force_jupyter=False, width=80)
        monkeypatch.setattr(rich, "_console", console)
        return console.file

    return replace


def work():
    with progress_bar("Rendering") as bar:
        bar(0, 4)
        bar(1, 4)
        bar(3, 4, "Encoding")


def test_a_terminal_shows_what_is_done_and_how_far(console):
    shown = console(True)
    work()
    assert "Rendering" in shown.getvalue() or "Encoding" in shown.getvalue()
    assert "3/4" in shown.getvalue()


def test_files_and_pipes_get_nothing(console):
    written = console(False)
    work()
    assert written.getvalue() == ""


def test_an_error_passes_through(console):
    console(False)
    with pytest.raises(ValueError, match="mine"), progress_bar("Rendering"):
        raise ValueError("mine")


def test_somebody_hears_of_it_and_can_end_it(console):
    console(False)
    heard = []
    with listening(lambda *told: heard.append(told)):
        work()
    work()
    assert heard == [(0, 4, "Rendering"), (1, 4, "Rendering"), (3, 4, "Encoding")]

    def stop(done, total, title):
        if done == 1:
            raise InterruptedError

    with pytest.raises(InterruptedError), listening(stop):
        work()


def test_a_bar_within_another_joins_its_display(console):
    shown = console(True)
    with progress_bar("Creating") as outer:
        outer(1, 8, "Training")
        work()
        outer(2, 8, "Filming")
    text = shown.getvalue()
    assert all(part in text for part in ("Training", "1/8", "Rendering", "Filming", "2/8"))
    work()
    assert shown.getvalue().count("\x1b[?25l") == 2, "one display for the first two bars, and another one later"


def test_an_error_within_closes_the_display(console):
    console(True)
    with pytest.raises(ValueError, match="mine"), progress_bar("Creating"), progress_bar("Rendering"):
        raise ValueError("mine")
    work()
