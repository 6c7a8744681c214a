"""The demo of `unsup-volanim`: draws toy heads and bodies, trains on their videos alone, and measures the result."""

from __future__ import annotations

import os
import platform
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfstudio_avatars.errors import UserError

if TYPE_CHECKING:
    from nerfstudio_avatars.avatars.nerfstudio_commands import TrainedRun

METHOD = "unsup-volanim-tiny"
FIT_ROUNDS = 10
"""Rounds in which detected poses are fitted to held-out frames, for comparison."""
_PARTS = {
    "network.parts": "4",
    "network.render.skinning": "compose",
    "network.shared-parts": "100.0",
    "network.part-detector": "upright",
    "network.relative.widths": "24 48 64 96",
    "network.relative.hidden": "384",
    "network.generator.widths": "32 16 8",
    "network.generator.doublings": "1",
    "schedule.articulation": "table",
    "schedule.bootstrap-until": "0.3",
    "schedule.search-until": "0.42",
    "schedule.polish-from": "0.44",
    "schedule.articulate-from": "0.48",
    "schedule.detectors-alone-from": "0.84",
    "schedule.refine-at": "0.46 0.66 0.839",
    "schedule.whole-share": "0.4",
    "table.stillness": "0.02",
}
_HEADS = {
    "network.fine-detail": "True",
    "schedule.fine-from": "0.6",
    "schedule.coarse-size": "64",
    "schedule.fine-patch": "48",
    "inversion.size": "64",
}
_TOY_HEADS = {"network.detail-density": "30.0", "schedule.fine-samples": "32", "schedule.align": "True"}
_ONE_PART = {"network.parts": "1"}
_BODIES = {
    "network.parts": "14",
    "network.detail-density": "10.0",
    "network.prior-radii": "0.45 0.8 0.35",
    "network.render.samples": "32",
    "search.turn-spread": "0.15 0.3 0.1",
    "search.samples": "24",
    "part-search.trials": "6",
    "part-search.samples": "24",
    "part-search.turn-spread": "0.6",
    "part-search.pivot-spread": "0.15",
    "table.turn-rate": "0.03",
    "table.shift-rate": "0.015",
    "table.stillness": "0.01",
    "network.relative.input-size": "64",
    "schedule.bootstrap-until": "0.18",
    "schedule.search-until": "0.22",
    "schedule.polish-from": "0.24",
    "schedule.articulate-from": "0.28",
    "schedule.detectors-alone-from": "0.75",
    "schedule.refine-at": "0.26 0.36 0.46 0.58 0.749",
    "schedule.regroup": "True",
    "schedule.align": "True",
}


def _flags(options: dict[str, str]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--pipeline.model.{name}", *value.split())]


PARTS = _flags(_PARTS)
PARTS += ["--optimizers.network.scheduler.rates", "1.0", "0.66", "0.66"]
"""Options for parts that separate: see docs/unsup-volanim.md."""
HEADS = _flags(_HEADS)
"""Options for heads beside those: fine voxels for pictures of 128 pixels."""
TOY_HEADS = _flags(_TOY_HEADS)
"""Options for toy heads beside those: hard outlines, and everybody looks straight ahead on average."""
ONE_PART = _flags(_ONE_PART)
"""Options that leave all of it one rigid part, for comparison."""
SIZE = 128
"""Side of the pictures of heads, in pixels."""
BODIES = _flags(_BODIES)
"""Options for bodies beside those: their arms move further than jaws, and hide how the torso turns."""


@dataclass
class HeadsDemo:
    """A demo to be made: where, and how long to train."""

    output: Path = Path("outputs/demo-volanim")
    """Folder to write everything to."""
    steps: int = 3000
    """Number of steps to train for."""
    one_part: bool = False
    """Whether to also train for as many steps with a single rigid part, for comparison, which takes as long again."""
    ceiling_steps: int = 300
    """Number of steps to train a run for comparison that is given the true poses; 0 leaves it out."""
    identities: int = 12
    """Number of heads to draw and to train on."""
    bodies: int = 0
    """Number of upper bodies to draw and to train on as well; 0 leaves them out."""
    bodies_steps: int = 1800
    """Number of steps to train on bodies for."""
    seed: int = 0
    """Seed of the random numbers used in training."""

    def make(self) -> tuple[Path, dict]:
        """Draws, trains, measures, and writes the page.

        Returns:
            The page's path, and the report that lies beside it.

        Raises:
            UserError: too few steps, or a nerfstudio command that failed.
        """
        for name in ("steps", "bodies_steps"):
            if getattr(self, name) < 10:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: expected at least 10.")
        from nerfstudio_avatars.avatars.nerfstudio_commands import train
        from nerfstudio_avatars.demo.bodies_page import bodies_section
        from nerfstudio_avatars.demo.heads_exam import against_one_part
        from nerfstudio_avatars.demo.heads_page import write_heads_page
        from nerfstudio_avatars.files import write_json

        start = time.perf_counter()
        data = self._draw()
        folder, logs = self.output / "runs", self.output / "logs"
        shutil.rmtree(folder, ignore_errors=True)
        options = ["--steps-per-eval-image", "0", "--pipeline.seed", str(self.seed), "--machine.seed", str(self.seed)]
        options += ["--steps-per-save", str(max(self.steps, self.bodies_steps)), *PARTS]
        size = ["voxceleb", "--image-size", str(SIZE)]
        heads = [*options, *HEADS, *TOY_HEADS]
        main = train(
            METHOD, data, folder, "heads", self.steps, [*heads, *size], logs / "train.log", "Learning from videos"
        )
        print(f"Trained {METHOD} for {main.train_seconds:.0f} s, {self.steps} steps: {main.config}")
        # Neither training nor measuring keeps all cores busy: the second training runs while the first run is measured.
        with ThreadPoolExecutor(1) as beside:
            single, single_log = [*heads, *ONE_PART, *size], logs / "one-part.log"
            one_part = self.one_part and beside.submit(
                train, METHOD, data, folder, "one-part", self.steps, single, single_log, "With one part"
            )
            bodies = self.bodies and beside.submit(self._train_on_bodies, folder, logs, options)
            report = self._measured(main, data)
            if one_part:
                report["one_part"] = self._measured(one_part.result(), data)
                report = against_one_part(report, report["one_part"])
        if self.ceiling_steps:
            report["true_poses"] = self._ceiling(main.config, data)
        more = ""
        if bodies:
            report["bodies"] = self._measured_bodies(bodies.result())
            more = bodies_section(
                {"learned": report["bodies"], "fitted poses": report["bodies"].get("fitted_poses", {})}
            )
        report["demo_seconds"] = time.perf_counter() - start
        write_json(self.output / "report.json", report)
        return write_heads_page(self.output, report, more), report

    def _draw(self) -> Path:
        from nerfstudio_avatars.demo.head_clips import draw_head_clips

        data = self.output / "data"
        draw_head_clips(data, identities=self.identities, size=SIZE)
        print(f"Drew {self.identities} toy heads for training, and two for testing: {data}")
        return data

    def _measured(self, trained: TrainedRun, data: Path) -> dict:
        """Measures held-out frames and, for the main run, draws the pictures."""
        from nerfstudio_avatars.avatars.run import load_run
        from nerfstudio_avatars.demo.heads_exam import HeadExam
        from nerfstudio_avatars.demo.heads_page import draw_sheet, drive_video, inversion_sheet
        from nerfstudio_avatars.demo.toy_exam import held_out_rows

        run = load_run(trained.config, need_data=True)
        exam = HeadExam(run.pipeline.model, data, held_out_rows(run.pipeline))
        figures: dict[str, Any] = dict(exam.figures())
        if trained.config.parents[2].name == "heads":
            draw_sheet(exam, self.output / "heads.png")
            drive_video(exam, self.output / "driven.mp4")
            figures |= inversion_sheet(run.pipeline, data, self.output / "inverted.png")
            fitted = HeadExam(run.pipeline.model, data, held_out_rows(run.pipeline), fit_rounds=FIT_ROUNDS)
            figures["fitted_poses"] = fitted.motions() | {"rounds": FIT_ROUNDS}
        return figures | {
            "steps": trained.steps,
            "train_seconds": trained.train_seconds,
            "device": f"{run.pipeline.device} ({platform.machine()}, {os.cpu_count()} cores)",
            "method": METHOD,
        }

    def _train_on_bodies(self, folder: Path, logs: Path, options: list[str]) -> TrainedRun:
        from nerfstudio_avatars.avatars.nerfstudio_commands import train
        from nerfstudio_avatars.demo.body_clips import draw_body_clips

        data = self.output / "bodies-data"
        draw_body_clips(data, identities=self.bodies, test_identities=0)
        steps, log = self.bodies_steps, logs / "bodies.log"
        return train(METHOD, data, folder, "bodies", steps, [*options, *BODIES], log, "Learning from bodies")

    def _measured_bodies(self, trained: TrainedRun) -> dict:
        from nerfstudio_avatars.avatars.run import load_run
        from nerfstudio_avatars.demo.bodies_exam import BodyExam
        from nerfstudio_avatars.demo.bodies_page import draw_bodies
        from nerfstudio_avatars.demo.toy_exam import held_out_rows

        run = load_run(trained.config, need_data=True)
        model, data, rows = run.pipeline.model, self.output / "bodies-data", held_out_rows(run.pipeline)
        exam = BodyExam(model, data, rows)
        figures = exam.figures() | {"steps": trained.steps, "train_seconds": trained.train_seconds}
        draw_bodies(exam, self.output / "bodies.png")
        fitted = BodyExam(model, data, rows, fit_rounds=FIT_ROUNDS).motions() | {"rounds": FIT_ROUNDS}
        return figures | {"fitted_poses": fitted}

    def _ceiling(self, config: Path, data: Path) -> dict:
        """Trains the same network from scratch with the true pose of every frame."""
        from nerfstudio_avatars.avatars.run import load_run
        from nerfstudio_avatars.demo.heads_exam import HeadExam, train_on_true_poses
        from nerfstudio_avatars.demo.toy_exam import held_out_rows

        pipeline = load_run(config, need_data=True).pipeline
        start = time.perf_counter()
        train_on_true_poses(pipeline, data, self.ceiling_steps)
        seconds = time.perf_counter() - start
        exam = HeadExam(pipeline.model, data, held_out_rows(pipeline), true_poses=True)
        return exam.figures() | {"steps": self.ceiling_steps, "train_seconds": seconds}
