"""`ns-avatar doctor`: what of this machine is fast, slow or missing."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nerfstudio_avatars.doctor import Finding

_DETAILS_SHOWN = 4


@dataclass
class Doctor:
    """Shows what on this machine is fast, slow or missing for these methods, and how to fix it.

    The exit code is 1 if training could not run here.
    """

    json: bool = False
    """Whether to print JSON: one object with all findings and their details."""

    def run(self) -> None:
        """Examines the machine, prints what was found, and exits with 1 if training could not run."""
        import json

        from nerfstudio_avatars.doctor import can_train, examine

        findings = examine()
        if self.json:
            found = {"can_train": can_train(findings), "findings": [asdict(finding) for finding in findings]}
            print(json.dumps(found, indent=2))
        else:
            print("\n".join(told(findings)))
        if not can_train(findings):
            sys.exit(1)


def told(findings: list[Finding]) -> list[str]:
    """The lines that are printed: what was found, below it details and the remedy, and at the end what it means."""
    from nerfstudio_avatars.doctor import can_train, files

    wide = max(len(finding.topic) for finding in findings)
    margin = " " * (wide + 11)
    lines = []
    for finding in findings:
        lines.append(f"{finding.topic:{wide}}  {finding.status:7}  {finding.found}")
        if finding.status != "ok" or finding.topic == files.SMPL:
            shown = finding.details[:_DETAILS_SHOWN]
            more = len(finding.details) - len(shown)
            lines += [f"{margin}{detail}" for detail in shown]
            lines += [f"{margin}and {more} more: ns-avatar doctor --json"] if more else []
        if finding.remedy:
            lines.append(f"{margin}-> {finding.remedy}")
    stops = [finding.topic for finding in findings if finding.stops_training]
    slow = [finding.topic for finding in findings if finding.status == "slow"]
    missing = [finding.topic for finding in findings if finding.status == "missing" and not finding.stops_training]
    lines.append("")
    lines.append("Training can run here." if can_train(findings) else f"Training cannot run here: {', '.join(stops)}.")
    lines += [f"Slower than it could be: {', '.join(slow)}."] if slow else []
    lines += [f"Missing, but not needed for training: {', '.join(missing)}."] if missing else []
    return lines
