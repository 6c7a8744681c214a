"""Chooses the frames of a training step, as a function of only the seed and the step number."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from nerfstudio_avatars.unsup_volanim.data.clip_table import ClipTable, HeldOutFrames

ORDER, FRAMES = 0, 1
"""Purposes of the random streams."""


@dataclass(frozen=True)
class BatchSize:
    """Size of a step, over all processes."""

    identities: int
    frames: int
    """Number of frames of each identity."""


class ClipSampler:
    """Draws a few frames of each of a few identities.

    In each pass, every identity is drawn once; the last step of a pass is filled up with repeated ones. Frames are
    uniform over all training frames of an identity, and different if it has enough.

    Args:
        table: the clips.
        identity_of_clip: the index of the identity in each clip; -1 for clips that are not drawn.
        held_out: frames that are not drawn.
        size: the size of a step.
        seed: the same seed draws the same frames in the same step, also in a resumed run.
    """

    def __init__(
        self, table: ClipTable, identity_of_clip: list[int], held_out: HeldOutFrames, size: BatchSize, seed: int
    ) -> None:
        self._held_out, self._seed = held_out, seed
        clips: dict[int, list[int]] = defaultdict(list)
        for clip, identity in enumerate(identity_of_clip):
            if identity >= 0:
                clips[identity].append(clip)
        self._clips = [np.array(clips[identity]) for identity in range(len(clips))]
        learned = [[table[clip].frames - held_out.count(table[clip].frames) for clip in group] for group in self._clips]
        self._ends = [np.cumsum(counts) for counts in learned]
        self.size = BatchSize(min(size.identities, len(self._clips)), size.frames)
        self._pass: tuple[int, np.ndarray] | None = None

    def rows(self, step: int, rank: int = 0, world_size: int = 1) -> Int[np.ndarray, "rows 3"]:
        """(identity, clip, frame) of a step, grouped by identity.

        Args:
            step: the training step.
            rank: the rank of this process, which gets every `world_size`-th identity of the step.
            world_size: number of processes; the number of identities must be a multiple.
        """
        drawn = [self._frames(step, int(identity)) for identity in self._identities(step)[rank::world_size]]
        return np.concatenate(drawn)

    def _identities(self, step: int) -> Int[np.ndarray, " identities"]:
        count, each = len(self._clips), self.size.identities
        passed, place = divmod(step, -(-count // each))
        known = self._pass  # another thread may be at another step
        if known is None or known[0] != passed:
            known = self._pass = passed, np.random.default_rng([self._seed, ORDER, passed]).permutation(count)
        return np.take(known[1], range(place * each, place * each + each), mode="wrap")

    def _frames(self, step: int, identity: int) -> Int[np.ndarray, "frames 3"]:
        draw = np.random.default_rng([self._seed, FRAMES, step, identity])
        ends, wanted = self._ends[identity], self.size.frames
        places = draw.choice(ends[-1], wanted, replace=bool(wanted > ends[-1]))
        group = np.searchsorted(ends, places, side="right")
        starts = np.concatenate([[0], ends[:-1]])
        frames = [self._held_out.learned(int(place)) for place in places - starts[group]]
        return np.stack([np.full(wanted, identity), self._clips[identity][group], frames], 1)
