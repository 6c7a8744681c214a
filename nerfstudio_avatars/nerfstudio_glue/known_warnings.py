"""Warnings about other people's code that users of nerfstudio's commands are spared. `patches.heal` leaves them out."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class KnownWarning:
    """A warning about other people's code, of which its reader can do nothing."""

    message: str
    """A regular expression for how the message begins."""
    category: type[Warning]
    reason: str
    """Who causes it, and why it is harmless."""


KNOWN_WARNINGS = (
    KnownWarning(
        r"`torch\.jit\.script(_method)?` is deprecated",
        FutureWarning,
        "nerfstudio 1.1.5 scripts two functions of its cameras; torch still does it.",
    ),
    KnownWarning(
        r"`torch\.jit\.script(_method)?` is deprecated",
        DeprecationWarning,
        "The same, as torch before 2.10 says it.",
    ),
    KnownWarning(
        r"`torch\.cuda\.amp\.(custom_fwd|custom_bwd|GradScaler|autocast)\(args\.\.\.\)` is deprecated",
        FutureWarning,
        "nerfstudio 1.1.5 and nerfacc use the old names, which do the same.",
    ),
    KnownWarning(
        r"Using a non-tuple sequence for multidimensional indexing",
        UserWarning,
        "nerfstudio 1.1.5 indexes cameras with lists of tensors; torch still allows it.",
    ),
    KnownWarning(
        r"Detected call of `lr_scheduler\.step\(\)` before `optimizer\.step\(\)`",
        UserWarning,
        "nerfstudio does not step a group that has no gradients yet, such as poses before they are refined, but its "
        "schedule goes on.",
    ),
    KnownWarning(
        r"Using torch\.cross without specifying the dim arg is deprecated",
        UserWarning,
        "nerfstudio 1.1.5 crosses vectors of three in the last axis, where torch finds them.",
    ),
    KnownWarning(
        r"To copy construct from a tensor, it is recommended to use sourceTensor\.detach\(\)\.clone\(\)",
        UserWarning,
        "nerfstudio 1.1.5 makes tensors of tensors where `ns-render interpolate` looks for cameras near each other.",
    ),
    KnownWarning(
        r"pkg_resources is deprecated as an API",
        UserWarning,
        "Old releases of packages that nerfstudio asks for look for their version with it.",
    ),
)


def when_torch_is_imported() -> None:
    """Keeps nerfstudio's commands from greeting everybody with known warnings.

    They come while the commands import nerfstudio, before any plugin. Earlier still comes torch, which since 2.5 calls
    what packages offer it (the entry point `torch.backends`). In other programs this does nothing.
    """
    if Path(sys.argv[0] if sys.argv else "").name.startswith("ns-"):
        quieten()


def quieten() -> None:
    """Leaves out `KNOWN_WARNINGS`, and no others."""
    for known in KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", message=known.message, category=known.category)
