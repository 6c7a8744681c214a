"""`ns-avatar ablate`: measures what each part of the method contributes on your data, by leaving it out."""

from __future__ import annotations

from dataclasses import dataclass

from nerfstudio_avatars.avatars.ablation.comparison import Comparison


@dataclass
class Ablate(Comparison):
    """Trains variants of `instant-avatar` that differ in one part each, and compares them in a table.

    An interrupted comparison is continued by the same command: variants that are finished are not trained again.
    """

    def run(self) -> None:
        """Trains the variants that are not finished, and prints the table."""
        table, file = self.compare()
        print(table)
        print(f"Compared the variants: {file}")
