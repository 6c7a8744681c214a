"""`ns-avatar evaluate-animation`: measures how well `unsup-volanim` reconstructs, moves and turns its objects."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from nerfstudio_avatars.avatars.measure_faces import animation_figures
from nerfstudio_avatars.errors import UserError


@dataclass
class EvaluateAnimation:
    """Measures how well an `unsup-volanim` run reconstructs, animates and turns held-out objects."""

    load_config: Path
    """Trained run to open: its folder, or the config.yml in it."""
    frames: int = 64
    """Number of held-out frames to measure, evenly spread over all of them."""
    people: bool = False
    """Whether to measure people who were not trained on, each fitted to the first frame of their clip.
    This takes minutes per clip."""
    output: Path | None = None
    """JSON file to write the figures to; a figure that too few frames allow is null.
    By default this is animation.json, or animation-people.json, in the folder of the run."""

    def run(self) -> None:
        """Measures the run, and writes and prints the figures."""
        from nerfstudio_avatars.avatars.run import find_config, load_run
        from nerfstudio_avatars.files import check_file, write_json

        if self.frames < 1:
            raise UserError(f"--frames {self.frames}: expected at least 1.")
        config = find_config(self.load_config)
        output = self.output or config.parent / ("animation-people.json" if self.people else "animation.json")
        check_file(output)
        run = load_run(config, need_data=True)
        figures = animation_figures(run, self.frames, self.people)
        write_json(output, figures)
        for name, value in figures.items():
            known = not isinstance(value, float) or math.isfinite(value)
            shown = f"{value:.4g}" if isinstance(value, float) else value
            print(f"{name}: {shown if known else 'not measured (too few frames, or too few with a face)'}")
        print(f"Evaluated step {run.step} of {config.parent}: {output}")
