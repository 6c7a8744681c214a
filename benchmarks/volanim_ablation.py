#!/usr/bin/env python
"""What does each part of `unsup-volanim` do, on toys whose poses and depth are known? One JSON object.

    python benchmarks/volanim_ablation.py --steps 1200 --variants full direct no-masks
    python benchmarks/volanim_ablation.py --toys bodies --identities 8 --steps 1400 --variants parts

Each variant is a run of `ns-train unsup-volanim-tiny` with one thing changed; figures are of held-out frames.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from nerfstudio_avatars.avatars.heads_demo import BODIES, FIT_ROUNDS, HEADS, ONE_PART, PARTS, SIZE, TOY_HEADS

MODEL = "--pipeline.model."
VARIANTS = {
    "full": [],
    "parts": PARTS,
    "parts-as-one": [*PARTS, *ONE_PART],
    "parts-coarse": [*PARTS, MODEL + "network.fine-detail", "False"],
    "parts-soft": [*PARTS, MODEL + "network.detail-density", "1.0"],
    "parts-sampled-sparsely": [*PARTS, MODEL + "schedule.fine-samples", "None"],
    "parts-unaligned": [*PARTS, MODEL + "schedule.align", "False"],
    "parts-unrefined": [*PARTS, MODEL + "schedule.refine-at", "1.0"],
    "parts-unanchored": [*PARTS, MODEL + "table.anchor", "0.0"],
    "parts-unrehearsed": [*PARTS, MODEL + "network.relative.rehearsal", "False"],
    "parts-wider-generator": [*PARTS, MODEL + "network.generator.widths", "48", "32", "16"],
    "parts-of-patches": [*PARTS, MODEL + "schedule.whole-share", "0.0"],
    "parts-moving-freely": [*PARTS, MODEL + "table.stillness", "0.0"],
    "parts-uncorrected": [*PARTS, MODEL + "network.relative.corrections", "0"],
    "parts-unsolved": [*PARTS, MODEL + "network.relative.solved", "False"],
    "parts-detected-all-along": [*PARTS, MODEL + "schedule.detectors-alone-from", "1.0"],
    "parts-blended": [*PARTS, MODEL + "network.render.skinning", "blend"],
    "parts-by-keypoints": [*PARTS, MODEL + "network.part-detector", "keypoints"],
    "parts-without-table": [
        *PARTS, MODEL + "schedule.articulation", "detector", MODEL + "network.part-detector", "keypoints",
        MODEL + "schedule.detectors-alone-from", "1.0", MODEL + "schedule.refine-at", "1.0",
    ],
    "parts-of-the-generator": [*PARTS, MODEL + "network.shared-parts", "0.0"],
    "two-parts": [*PARTS, MODEL + "network.parts", "2"],
    "six-parts": [*PARTS, MODEL + "network.parts", "6"],
    "direct": [MODEL + "network.pose", "direct"],
    "epnp": [MODEL + "network.pose", "epnp"],
    "no-geometry-phase": [MODEL + "schedule.articulate-from", "0.4", MODEL + "schedule.search-until", "0.4"],
    "one-part": [MODEL + "schedule.articulate-from", "1.0"],
    "pull": [MODEL + "losses.pull", "10.0"],
    "no-search": [MODEL + "schedule.search-until", "0.0"],
    "no-solid": [MODEL + "network.prior-slope", "0.0"],
    "identities-at-once": [MODEL + "schedule.one-identity-until", "0.0"],
    "no-masks": [MODEL + "losses.mask", "0.0", MODEL + "search.mask-weight", "0.0"],
    # The paper's losses (but for the perceptual network) from its own start: no bootstrap of any kind.
    "paper": [
        MODEL + "schedule.bootstrap-until", "0.0", MODEL + "schedule.search-until", "0.0",
        MODEL + "network.prior-slope", "0.0", MODEL + "network.detector.positional-bias", "0.0",
        MODEL + "network.pose", "epnp", MODEL + "losses.pull", "10.0", MODEL + "losses.mask", "10.0",
        MODEL + "losses.equivariance", "10.0", MODEL + "losses.projection", "10.0",
    ],
}  # fmt: skip


def main() -> None:
    """Trains and measures the variants."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toys", choices=("heads", "bodies"), default="heads")
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--identities", type=int, default=12)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--size", type=int, help="side of the pictures; by default 128 for heads, and 64 for bodies")
    parser.add_argument("--keep", type=Path, help="folder for data and runs; a temporary one by default")
    arguments = parser.parse_args()

    from nerfstudio_avatars.avatars.nerfstudio_commands import train
    from nerfstudio_avatars.demo.body_clips import draw_body_clips
    from nerfstudio_avatars.demo.head_clips import draw_head_clips
    from nerfstudio_avatars.demo.heads_exam import against_one_part

    bodies = arguments.toys == "bodies"
    folder = arguments.keep or Path(tempfile.mkdtemp())
    draw = draw_body_clips if bodies else draw_head_clips
    size = arguments.size or (64 if bodies else SIZE)
    data = draw(folder / arguments.toys, arguments.identities, arguments.frames, size, test_identities=0)
    results: dict[str, list[dict[str, Any]]] = {}
    for variant in arguments.variants:
        for seed in arguments.seeds:
            options = ["--steps-per-eval-image", "0", "--pipeline.seed", str(seed), "--machine.seed", str(seed)]
            options += ["--steps-per-save", str(arguments.steps)]
            options += [*changes(variant, bodies), "voxceleb", "--image-size", str(size)]
            name = f"{variant}-{seed}"
            log = folder / f"{name}.log"
            run = train("unsup-volanim-tiny", data, folder / "runs", name, arguments.steps, options, log, name)
            found = figures(run.config, data, bodies) | {"train_seconds": run.train_seconds}
            results.setdefault(variant, []).append(found)
    if arguments.keep is None:
        shutil.rmtree(folder)
    if "parts-as-one" in results:
        single = results["parts-as-one"]
        for variant, runs in results.items():
            results[variant] = [against_one_part(own, one) for own, one in zip(runs, single, strict=True)]
    print(
        json.dumps(
            {
                "question": "what does each part of unsup-volanim do?",
                "toys": arguments.toys,
                "size": size,
                "steps": arguments.steps,
                "identities": arguments.identities,
                "seeds": arguments.seeds,
                "results": results,
                "torch": torch.__version__,
                "peak_memory_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
            }
        )
    )


def changes(variant: str, bodies: bool) -> list[str]:
    """Options of a variant; those for bodies come before what it changes itself."""
    own = VARIANTS[variant]
    shared = PARTS if own[: len(PARTS)] == PARTS else []
    return [*shared, *(BODIES if bodies else [*HEADS, *TOY_HEADS] if shared else []), *own[len(shared) :]]


def figures(config: Path, data: Path, bodies: bool) -> dict[str, Any]:
    """Of one run, and of the same with poses fitted to the held-out frames."""
    from nerfstudio_avatars.avatars.run import load_run
    from nerfstudio_avatars.demo.bodies_exam import BodyExam
    from nerfstudio_avatars.demo.heads_exam import HeadExam
    from nerfstudio_avatars.demo.toy_exam import held_out_rows

    with contextlib.redirect_stdout(sys.stderr):
        run = load_run(config, need_data=True)
    exam, rows = BodyExam if bodies else HeadExam, held_out_rows(run.pipeline)
    found = exam(run.model, data, rows).figures()
    return found | {"fitted_poses": exam(run.model, data, rows, fit_rounds=FIT_ROUNDS).motions()}


if __name__ == "__main__":
    main()
