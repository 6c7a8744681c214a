"""Differences that keep a run's figures from being comparable with a paper's: frames, size, poses, body, training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nerfstudio_avatars.avatars.protocols import Protocol

if TYPE_CHECKING:
    from nerfstudio_avatars.avatars.run import LoadedRun

_TRAINED_POSES = "corrections are dropped here, so the avatar may fit them better than the given poses"


@dataclass(frozen=True)
class RunFacts:
    """The facts about a run that decide whether its figures can be compared."""

    subject: str
    method: str
    steps: int
    train_frames: tuple[int, ...]
    test_frames: tuple[int, ...]
    size: tuple[int, int]
    """Height and width of the pictures in pixels."""
    body: str
    poses_corrected: bool
    """Whether poses were corrected in training."""
    paper_poses: bool
    """Whether the held-out poses are those of Anim-NeRF, from the file that the published code reads."""


def facts_of(run: LoadedRun) -> RunFacts:
    """Reads the facts from an opened run, before a protocol changes its options."""
    dataset, model, person = run.datamanager.eval_dataset, run.model.config, run.model.person
    clip = Path(dataset.image_filenames[0]).parent
    height, width = (int(getattr(dataset.cameras, side)[0]) for side in ("height", "width"))
    return RunFacts(
        subject=clip.name,
        method=run.config.method,
        steps=run.step + 1,
        train_frames=tuple(person.train_frames.tolist()),
        test_frames=dataset.metadata["pictures"].frames,
        size=(height, width),
        body=person.motion.body,
        poses_corrected=bool(getattr(model, "refine_poses", False)),
        paper_poses=(clip.parent / "poses" / "anim_nerf_test.npz").is_file(),
    )


def differences(facts: RunFacts, protocol: Protocol) -> list[str]:
    """How this run differs from the protocol's paper; empty for protocols without a paper."""
    if not protocol.reference:
        return []
    found = []
    if protocol.published_frames:
        found += _frames(facts)
    side = protocol.picture_size
    if side is not None and facts.size != (side, side):
        found.append(f"pictures: {facts.size[1]}x{facts.size[0]}; the paper's are {side}x{side}")
    if not facts.paper_poses:
        found.append("poses: the data's own; the paper's are Anim-NeRF's (poses/anim_nerf_test.npz, which is missing)")
    if not facts.body.startswith("smpl"):
        found.append(f"body: {facts.body}; the paper's is SMPL")
    if protocol.stored_poses and facts.poses_corrected:
        found.append(f"poses: refined in training, together with the avatar; {_TRAINED_POSES}")
    if facts.method != "instant-avatar-paper":
        found.append(
            f"method: {facts.method} with this package's settings, {facts.steps} steps; not the published code"
        )
    return found


def _frames(facts: RunFacts) -> list[str]:
    from nerfstudio_avatars.instant_avatar.data.snapshot_splits import published_split

    published = published_split(facts.subject)
    if published is None:
        return ["frames: not a subject of the paper, so the run's own held-out frames"]
    return [
        f"frames: {len(mine)} for {split}, which are not the paper's {len(published[split])}"
        for split, mine in (("train", facts.train_frames), ("test", facts.test_frames))
        if list(mine) != published[split]
    ]


def _numbers(frames: Sequence[int] | None) -> list[int]:
    return [] if frames is None else [int(frame) for frame in frames]
