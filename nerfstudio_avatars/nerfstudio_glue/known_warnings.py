"""Warnings about other people's code that are hidden from users of nerfstudio's commands (see `patches.heal`)."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class KnownWarning:
    """A warning about other people's code, which users can do nothing about."""

    message: str
    """A regular expression that matches the beginning of the message."""
    category: type[Warning]
    reason: str
    """What causes it, and why it is harmless."""


KNOWN_WARNINGS = (
    KnownWarning(
        r"`torch\.jit\.script(_method)?` is deprecated",
        FutureWarning,
        "nerfstudio 1.1.5 scripts two functions of its cameras; torch still supports it.",
    ),
    KnownWarning(
        r"`torch\.jit\.script(_method)?` is deprecated",
        DeprecationWarning,
        "The same warning, as worded before torch 2.10.",
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
        "Old releases of packages that nerfstudio requires use it to find their own version.",
    ),
)


def when_torch_is_imported() -> None:
    """Hides known warnings from the very start of nerfstudio's commands.

    The warnings come while the commands import nerfstudio, before any plugin. But torch is imported even earlier, and
    since 2.5 it calls the entry points `torch.backends` of installed packages. In other programs this does nothing.
    """
    if Path(sys.argv[0] if sys.argv else "").name.startswith("ns-"):
        quieten()


def quieten() -> None:
    """Hides `KNOWN_WARNINGS`, and no others."""
    for known in KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", message=known.message, category=known.category)
