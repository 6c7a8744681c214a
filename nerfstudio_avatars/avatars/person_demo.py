"""The demo of `instant-avatar`: from a drawn video to a moving person, using nerfstudio's own commands."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nerfstudio_avatars.avatars.results import (
    COMPARISONS,
    LIVE_MOTIONS,
    compare_looks,
    device_name,
    film_results,
    measured,
    next_commands,
    show_video,
)
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
    "--pipeline.model.avatar.step", "0.005",
    "--pipeline.datamanager.frames-per-batch", "2",
    "--pipeline.datamanager.rays-per-frame", "512",
)  # fmt: skip
"""The drawn poses are exact, the clothes tight: nothing to refine, a sharper loss, finer cells and samples."""
_LIVE = "avatar.html"
"""The page in which the avatar moves, beside the demo's own."""


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

        device = "cuda" if torch.cuda.is_available() else "cpu"
        data = self._draw()
        runs = self._train(data, device)
        report = self._measure(runs, device)
        self._show(data, runs[-1])
        write_json(self.output / "report.json", report)
        return self._page(report), report

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
        from nerfstudio_avatars.avatars.run import chosen_method

        method = chosen_method(self.method, device == "cuda")
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
        """Measures every run, and shows one held-out picture of each."""
        by_budget, comparisons = {}, []
        for seconds, trained in zip(self.seconds_list, runs, strict=True):
            last = trained is runs[-1]
            comparisons.append(self.output / (COMPARISONS if last else f"runs/{seconds}s/{COMPARISONS}"))
            figures = measured(trained.config, comparisons[-1])
            missing = [group for group in GROUPS if f"{group}_psnr" not in figures]
            if missing:
                raise UserError(f"the drawn sequence has no held-out group {missing[0]!r}.")
            by_budget[str(seconds)] = figures | {
                key: getattr(trained, key) for key in ("steps", "train_seconds", "command_seconds")
            }
        compare_looks(comparisons, self.output)
        return by_budget[str(self.seconds_list[-1])] | {
            "device": device_name(device),
            "background": "white",
            "method": trained.config.parents[1].name,
            "by_budget": by_budget,
        }

    def _show(self, data: Path, trained: TrainedRun) -> None:
        """The video, films, and the page in which the avatar moves in the browser."""
        from nerfstudio_avatars.avatars.avatar import Avatar

        (video,) = data.glob("*/*.mp4")
        show_video(video, self.output, self.video_size, (0.0, None))
        avatar = Avatar.load(trained.config)
        film_results(avatar, self.output, self.video_size, self.video_seconds)
        avatar.export(self.output / _LIVE, motion=LIVE_MOTIONS, maker="Nobody who exists", licence="CC0-1.0")

    def _page(self, report: dict) -> Path:
        from nerfstudio_avatars.avatars.result_page import ResultPage, write_result_page

        run = f"runs/{self.seconds_list[-1]}s/{report['method']}/run"
        return write_result_page(
            self.output,
            ResultPage(
                title="A person learnt from a video",
                told=[f"Trained with {report['method']} on {report['device']}, on a drawn video and its exact poses."],
                live=_LIVE,
                next=["ns-avatar create my_video.mp4", *next_commands(run, "person")],
                trainings={f"{seconds} s": figures for seconds, figures in report["by_budget"].items()},
                size=self.video_size,
            ),
        )
