"""Chooses the frames to train on and those to hold out."""

from __future__ import annotations

from pathlib import Path

from nerfstudio_avatars.errors import DataError

Splits = dict[str, list[int]]

SPLITS = ("train", "val", "test")
MOST_FRAMES = 1_000_000
HELD_OUT_EVERY = 4
"""Number of frames of which the last is held out, if no frames are published or given."""

# InstantAvatar's configurations: first, last (inclusive), step.
_PUBLISHED: dict[str, dict[str, tuple[int, int, int]]] = {
    "male-3-casual": {"train": (0, 455, 4), "val": (456, 456, 1), "test": (456, 675, 4)},
    "male-4-casual": {"train": (0, 659, 6), "val": (660, 660, 1), "test": (660, 872, 6)},
    "female-3-casual": {"train": (0, 445, 4), "val": (446, 446, 1), "test": (446, 647, 4)},
    "female-4-casual": {"train": (0, 335, 4), "val": (335, 335, 1), "test": (335, 523, 4)},
    "female-4-sport": {"train": (1, 336, 4), "val": (336, 336, 1), "test": (336, 524, 4)},
    "male-2-casual": {"train": (1, 455, 4), "val": (455, 455, 1), "test": (1, 455, 20)},
    "male-2-sport": {"train": (1, 455, 4), "val": (455, 455, 1), "test": (1, 455, 20)},
    "male-3-sport": {"train": (1, 230, 2), "val": (230, 230, 1), "test": (230, 460, 6)},
}


def published_split(subject: str) -> Splits | None:
    """The frames of a subject used in the paper, if it lists any."""
    if subject not in _PUBLISHED:
        return None
    return {name: list(range(first, last + 1, step)) for name, (first, last, step) in _PUBLISHED[subject].items()}


def held_out_split(count: int, every: int) -> Splits:
    """Holds out every `every`-th frame for validation and testing; 0 holds out none, but shows the last frame."""
    if every <= 1 or count < every:
        return {"train": list(range(count)), "val": [count - 1], "test": [count - 1]}
    held_out = list(range(every - 1, count, every))
    return {"train": [i for i in range(count) if i % every != every - 1], "val": held_out, "test": held_out}


def parse_range(text: str, flag: str) -> list[int]:
    """Parses `start:end` or `start:end:step`, end inclusive as in the paper; a single number is one frame."""
    fix = f"write {flag} start:end:step, for instance {flag} 0:455:4"
    try:
        numbers = [int(part) for part in text.split(":")]
    except ValueError as error:
        raise DataError(flag, repr(text), "whole numbers", fix) from error
    first, last, step = (numbers + [numbers[0], 1][len(numbers) - 1 :])[:3]
    if len(numbers) > 3 or first < 0 or not first <= last <= MOST_FRAMES or step < 1:
        raise DataError(flag, f"{text!r:.80}", f"0 <= start <= end <= {MOST_FRAMES} and step >= 1", fix)
    return list(range(first, last + 1, step))


def check_split(splits: Splits, count: int, source: str | Path) -> None:
    """Refuses frames that the sequence does not have."""
    for name, frames in splits.items():
        if len(set(frames)) < len(frames):
            found = f"{len(frames)} {name} frames, {len(set(frames))} of them different"
            raise DataError(source, found, "every frame once", "list each frame once")
        outside = [frame for frame in frames if not 0 <= frame < count]
        if outside or not frames:
            found = f"{name} frames up to {max(outside)}, of {count}" if outside else f"no {name} frames"
            fix = "give the frames with --train, --val and --test start:end:step, or complete the sequence"
            raise DataError(source, found, f"at least one frame for {name}, all from 0 to {count - 1}", fix)
