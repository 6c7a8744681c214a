"""The result of one check."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "slow", "missing"]


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    topic: str
    """What was looked at, in a word or two."""
    status: Status
    """`ok`; `slow`: it works, but a better way exists; `missing`: what needs it does not work."""
    found: str
    """What was found, and what it is for."""
    remedy: str = ""
    """What to type, or to do where nothing can be typed. Empty where all is well."""
    stops_training: bool = False
    """Whether no method can be trained before this is mended."""
    details: tuple[str, ...] = ()
    """More, one thing a line: files that were found, places that were searched."""


def can_train(findings: Iterable[Finding]) -> bool:
    """Whether nothing that was found keeps every method from being trained."""
    return not any(finding.stops_training for finding in findings)
