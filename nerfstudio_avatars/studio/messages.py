"""What the page says to whoever has just done something."""

from __future__ import annotations

import viser


def say(event: viser.GuiEvent, title: str, text: str, seconds: float | None = None) -> None:
    """Shows a message at the edge of the page that an event came from.

    Args:
        event: of the page.
        title: in a few words.
        text: the whole of it.
        seconds: after which it goes by itself; by default it stays until it is closed.
    """
    if event.client is not None:
        close = False if seconds is None else round(1000 * seconds)
        event.client.add_notification(title, text, auto_close=close)
