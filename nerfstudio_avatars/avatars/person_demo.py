"""The demo of `instant-avatar`: from a drawn video to a moving person, using nerfstudio's own commands."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.files import write_json
from nerfstudio_avatars.whole_files import whole_folder

if TYPE_CHECKING:
    from nerfstudio_avatars.avatars.nerfstudio_commands import TrainedRun

GROUPS = ("novel_view", "novel_pose")
"""Groups of held-out pictures: views between the training frames, and poses that the training never saw."""

_GUESSED_MS_PER_STEP = {"cpu": 40.0, "cuda": 10.0}
"""The speed to assume before anything has been measured."""

_EXACT_POSES = (
    "--pipeline.model.refine-poses", "False",
    "--pipeline.model.huber-delta", "0.02",
    "--pipeline.model.avatar.cell-size", "0.02",
    "--pipeline.model.avatar.band", "0.06",
    "--pipeline.datamanager.frames-per-batch", "2",
    "--pipeline.datamanager.rays-per-frame", "512",
)  # fmt: skip
"""The drawn sequence's poses are exact and its clothes tight: nothing to refine, a sharper loss, finer skinning."""
_LIVE_MOTIONS = ("walk", "dance_a", "spinkick")
"""Motions of the avatar that moves in the browser."""


@dataclass
class PersonDemo:
    """A demo to be made: where, and how long to train."""

    output: Path = Path("outputs/demo")
    """Folder to write everything to; a sequence that was already drawn there is used again."""
    seconds_list: tuple[int, ...] = (10, 30, 80)
    """Training times to compare, in seconds and in rising order; the run of the last one makes the videos.
    The number of steps follows from the speed that was measured last."""
    method: str = "auto"
    """Method to train: `auto` chooses instant-avatar on a GPU, and instant-avatar-cpu without one."""
    size: int = 540
    """Width and height of the drawn video in pixels, which training halves."""
    video_size: int = 400
    """Width and height of the rendered videos in pixels."""
    video_seconds: float = 4.0
    """Length of each rendered video in seconds."""

    def make(self) -> tuple[Path, dict]:
        """Draws, trains, measures, films, and writes the page.

        Returns:
            The page's path, and the report that lies beside it.

        Raises:
            UserError: training times that do not rise, or a nerfstudio command that failed.
        """
        times = self.seconds_list
        if not times or list(times) != sorted(set(times)) or times[0] < 1:
            raise UserError(f"--seconds-list {times}: expected whole numbers of seconds in rising order.")
        import torch

        from nerfstudio_avatars.demo.person_page import write_person_page

        device = "cuda" if torch.cuda.is_available() else "cpu"
        data = self._draw()
        runs = self._train(data, device)
        report = self._measure(runs, device)
        self._compare(runs[-1])
        self._take_out(runs[-1])
        write_json(self.output / "report.json", report)
        return write_person_page(self.output, report), report

    def _draw(self) -> Path:
        """Draws the sequence elsewhere and then moves it, so that a half-drawn one is never used."""
        data = self.output / "data" / "demo-person"
        if not data.is_dir():
            from nerfstudio_avatars.demo import draw_demo_sequence

            with whole_folder(data) as partial:
                draw_demo_sequence(partial, size=self.size)
            print(f"Drew the demo sequence: {data}")
        return data

    def _train(self, data: Path, device: str) -> list[TrainedRun]:
        from nerfstudio_avatars.avatars.nerfstudio_commands import WARM_UP_STEPS, train

        method = self.method if self.method != "auto" else "instant-avatar" + ("-cpu" if device == "cpu" else "")
        folder, logs = self.output / "runs", self.output / "logs"
        shutil.rmtree(folder, ignore_errors=True)
        # Rendering pictures would only take time from the training.
        options = ["--steps-per-eval-image", "0", *_EXACT_POSES]

        def one(name: str, steps: int, title: str) -> TrainedRun:
            return train(method, data, folder, name, steps, options, logs / f"train-{name}.log", title)

        one("warm-up", WARM_UP_STEPS, "Compiling kernels")
        milliseconds = _GUESSED_MS_PER_STEP[device]
        runs = []
        for seconds in self.seconds_list:
            steps = max(round(1000 * seconds / milliseconds), 2)
            runs.append(one(f"{seconds}s", steps, f"Training for {seconds} s"))
            milliseconds = 1000 * runs[-1].train_seconds / steps
            print(f"Trained {method} for {runs[-1].train_seconds:.1f} s, {steps} steps: {runs[-1].config}")
        return runs

    def _measure(self, runs: list[TrainedRun], device: str) -> dict:
        """Evaluates every run; the last one also makes the videos."""
        from nerfstudio_avatars.avatars.film import Shot, film
        from nerfstudio_avatars.avatars.measure import evaluate_loaded
        from nerfstudio_avatars.avatars.run import load_run

        by_budget = {}
        for seconds, trained in zip(self.seconds_list, runs, strict=True):
            run = load_run(trained.config, need_data=True)
            by_budget[str(seconds)] = _figures(evaluate_loaded(run)) | {
                key: value for key, value in asdict(trained).items() if key != "config"
            }
        shot = Shot(height=self.video_size, width=self.video_size, seconds=self.video_seconds, fps=20)
        film(run, replace(shot, motion="still", camera="turning"), self.output / "turntable.mp4")
        film(run, replace(shot, motion="walk", azimuth=35.0), self.output / "walk.mp4")
        return by_budget[str(self.seconds_list[-1])] | {
            "device": _device_name(device),
            "background": "white",
            "method": run.config.method,
            "by_budget": by_budget,
        }

    def _take_out(self, trained: TrainedRun) -> None:
        """Writes the page in which the avatar moves in the browser."""
        from nerfstudio_avatars.avatars.exporting import ExportOptions, export
        from nerfstudio_avatars.avatars.run import load_run
        from nerfstudio_avatars.demo.person_page import LIVE

        options = ExportOptions(motion=_LIVE_MOTIONS, maker="Nobody who exists", licence="CC0-1.0")
        export(load_run(trained.config), self.output / LIVE, options)

    def _compare(self, trained: TrainedRun) -> None:
        """ns-eval writes the held-out comparisons: truth, rendering, error (x 4) side by side."""
        from nerfstudio_avatars.avatars.nerfstudio_commands import run_command

        pictures = self.output / "held-out"
        shutil.rmtree(pictures, ignore_errors=True)
        arguments = ["--load-config", str(trained.config), "--output-path", str(self.output / "ns-eval.json")]
        arguments += ["--render-output-path", str(pictures)]
        run_command("eval", arguments, self.output / "logs" / "eval.log", "Held-out comparisons")


def _figures(evaluation: dict) -> dict[str, float]:
    """The result of `evaluate_loaded` on white, with the report's keys: `novel_view_psnr`, `novel_view_box_psnr` ..."""
    figures: dict[str, float] = {}
    for group in GROUPS:
        if group not in evaluation["groups"]:
            raise UserError(
                f"the drawn sequence has no held-out group {group!r}: found {sorted(evaluation['groups'])}."
            )
        means = evaluation["groups"][group]
        figures[f"{group}_images"] = means["images"]
        for name in ("psnr", "ssim"):
            # The drawn poses are exact and were not refined: the pictures are shown in the poses as given.
            figures[f"{group}_{name}"] = means[f"given_{name}_white"]
            figures[f"{group}_box_{name}"] = means[f"given_{name}_box_white"]
    return figures | {"render_fps": evaluation["render_fps"]}


def _device_name(device: str) -> str:
    import torch

    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"cpu ({platform.machine()}, {os.cpu_count()} cores)"
