"""`ns-avatar evaluate-animation`: how well a trained `unsup-volanim` rebuilds, moves and turns its faces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nerfstudio_avatars.avatars.measure_faces import animation_figures
from nerfstudio_avatars.errors import UserError

if TYPE_CHECKING:
    pass


@dataclass
class EvaluateAnimation:
    """Measures an unsup-volanim run on held-out frames: rebuilt, moved by other clips, turned."""

    load_config: Path
    """The run's config.yml, or its folder."""
    frames: int = 64
    """Held-out frames looked at, spread over all of them."""
    people: bool = False
    """Look at people never trained on instead, each found from the first frame of their clip. Takes minutes a clip."""
    output: Path | None = None
    """JSON file for the figures; null where too few of the frames allow one. Default: animation.json in the run's
    folder, or animation-people.json."""
    trust: bool = False
    """Open the configuration even if it names things from outside nerfstudio and this package."""

    def run(self) -> None:
        """Measures, writes the figures, prints them."""
        from nerfstudio_avatars.avatars.run import find_config, load_run
        from nerfstudio_avatars.files import check_file, write_json

        if self.frames < 1:
            raise UserError(f"--frames {self.frames}: expected at least 1.")
        config = find_config(self.load_config)
        output = self.output or config.parent / ("animation-people.json" if self.people else "animation.json")
        check_file(output)
        run = load_run(config, self.trust)
        figures = animation_figures(run, self.frames, self.people)
        write_json(output, figures)
        for name, value in figures.items():
            known = not isinstance(value, float) or math.isfinite(value)
            shown = f"{value:.4g}" if isinstance(value, float) else value
            print(f"{name}: {shown if known else 'too few frames, or too few with a face'}")
        print(f"Evaluated step {run.step} of {config.parent}: {output}")
