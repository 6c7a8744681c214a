"""Where a motion stands: it plays by itself, or is moved by hand."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Playback:
    """A place in a motion. Knows neither bodies nor clocks: whoever has a clock calls `advance`.

    >>> walk = Playback(frames=31, fps=30.0, playing=True)
    >>> walk.advance(0.5)
    >>> walk.position
    15.0
    >>> walk.advance(0.75)  # The last frame is the first of the next round.
    >>> walk.position
    7.5
    """

    frames: int
    """Number of frames of the motion."""
    fps: float
    """Frames per second at a speed of 1."""
    position: float = 0.0
    """The frame shown, from 0 to `frames` - 1; fractions lie between two frames."""
    playing: bool = False
    speed: float = 1.0
    """Factor of the motion's own speed."""
    loop: bool = True
    """Whether it begins again at its end; otherwise it stops there."""

    @property
    def last(self) -> int:
        """The last frame."""
        return max(self.frames - 1, 0)

    def advance(self, seconds: float) -> None:
        """Plays on for some seconds; does nothing while it is paused."""
        if not self.playing or self.last == 0:
            return
        position = self.position + seconds * self.fps * self.speed
        if self.loop:
            position %= self.last
        elif position >= self.last:
            position, self.playing = self.last, False
        self.position = float(position)

    def seek(self, frame: float) -> None:
        """Moves to a frame; to the nearest one there is."""
        self.position = float(min(max(frame, 0.0), self.last))

    def play(self) -> None:
        """Plays; from the start, if it had stopped at the end."""
        if not self.loop and self.position >= self.last:
            self.position = 0.0
        self.playing = True

    def pause(self) -> None:
        """Stops where it is."""
        self.playing = False

    @property
    def shown(self) -> float:
        """The position to show. It is rounded to whole frames, or to shares of them in slow motion, so that a motion
        that repeats shows the same poses again, which then need not be computed again."""
        step = min(max(self.speed, 0.125), 1.0)
        return min(round(self.position / step) * step, float(self.last))
