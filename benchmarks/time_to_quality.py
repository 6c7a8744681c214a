"""How good is the picture after how long, with and without each of the method's ideas?

Prints one JSON object: for each variant of `ns-avatar ablate` its learning curve on the demo's drawn person, `[steps,
seconds, PSNR]` at each checkpoint, and when it first reached the PSNR that the full method ends with, less a decibel.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stand_in import note, peak_memory_mb  # first: it settles how torch's threads wait

# isort: split
import torch
import tyro

from nerfstudio_avatars.avatars.ablation.comparison import Comparison
from nerfstudio_avatars.avatars.ablation.report import quantities
from nerfstudio_avatars.avatars.ablation.variants import FULL
from nerfstudio_avatars.cli.demo_data import DRAWN


@dataclass
class Options:
    """Lengths of the runs."""

    steps: int = 600
    """Length of each training."""
    variants: tuple[str, ...] = field(default=(FULL, "broyden-13", "no-space-skipping", "no-regulariser"))
    """Of `ns-avatar ablate`."""
    seed: int = 0
    """Of the trainings."""
    size: int | None = None
    """Side of the drawn pictures, pixels; the demo's by default."""
    checkpoints: int = 6
    """Points of a curve."""
    pictures: int = 4
    """Held-out pictures measured at each."""
    method: str = "auto"
    """`instant-avatar` or `instant-avatar-cpu`; `auto` by whether there is a GPU."""
    keep: Path | None = None
    """Folder for data and runs, in which finished variants are taken up again; a temporary one by default."""


def of_variant(result: dict[str, Any], target: float) -> dict[str, Any]:
    """A variant's figures."""
    seconds = quantities(result, target)["seconds_to"]
    return {
        "curve": [[point["steps"], round(point["seconds"], 1), round(point["psnr"], 2)] for point in result["curve"]],
        "seconds_to_target": None if seconds is None else round(seconds, 1),
        "steps_per_second": round(result["steps_per_second"], 2),
        "pictures_per_second": round(result["render_fps"], 3),
    }


def main(options: Options) -> None:
    """Draws the person, trains the variants in turn and prints the figures."""
    with tempfile.TemporaryDirectory() as temporary, contextlib.redirect_stdout(sys.stderr):
        folder = options.keep or Path(temporary)
        data = folder / "data"
        if not data.is_dir():
            note("drawing the person")
            DRAWN["people-snapshot"](data, options.size, 0)
        Comparison(
            data=data, output=folder / "runs", steps=options.steps, seeds=(options.seed,), only=options.variants,
            checkpoints=options.checkpoints, curve_pictures=options.pictures, pictures=options.pictures,
            method=options.method,
        ).compare()  # fmt: skip
        report = json.loads((folder / "runs" / "ablation.json").read_text("utf8"))
    target = report["target_psnr"]
    print(
        json.dumps(
            {
                "setting": report["setting"],
                "target_psnr": target,
                **{result["variant"]: of_variant(result, target) for result in report["results"]},
                "threads": torch.get_num_threads(),
                "peak_memory_mb": peak_memory_mb(),
            }
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
