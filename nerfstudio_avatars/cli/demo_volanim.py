"""`ns-avatar demo-volanim`: toy heads that learn to move from their videos alone."""

from __future__ import annotations

from dataclasses import dataclass

from nerfstudio_avatars.avatars.heads_demo import HeadsDemo


@dataclass
class DemoVolanim(HeadsDemo):
    """Trains a small `unsup-volanim` on drawn heads whose true poses are known, and writes a page with figures."""

    def run(self) -> None:
        """Runs all steps, and prints the path of the page and the figures last."""
        page, report = self.make()
        print(f"Source, driver, result, new views, depth and parts: {page}")
        print(" ".join(f"{key} {value:.4g}" for key, value in report.items() if isinstance(value, float)))
