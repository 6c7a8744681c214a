"""`ns-avatar demo-data`: the drawn sequence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass
class DemoData:
    """Draws a dressed person turning before a camera, with held-out views and poses, in PeopleSnapshot's own format."""

    output: Annotated[Path, tyro.conf.Positional] = Path("outputs/demo-data")
    """Folder that becomes the sequence."""
    size: int = 540
    """Side of the square video, pixels."""
    seed: int = 0
    """The same seed draws the same sequence."""

    def run(self) -> None:
        """Draws it."""
        from nerfstudio_avatars.data.demo import draw_demo_sequence

        draw_demo_sequence(self.output, size=self.size, seed=self.seed)
        print(f"Drew the demo sequence ({self.size}x{self.size}, seed {self.seed}): {self.output}")
