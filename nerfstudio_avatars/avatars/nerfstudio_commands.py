"""Runs nerfstudio's own commands as a user would, with their output in a log file."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from subprocess import STDOUT

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.nerfstudio_glue import child_command
from nerfstudio_avatars.nerfstudio_glue.checkpoints import checkpoints_in
from nerfstudio_avatars.nerfstudio_glue.run_lock import RunLock
from nerfstudio_avatars.progress import progress_bar

_PROGRESS = re.compile(r"\((\d+(?:\.\d+)?)%\)")
"""The progress in each line of ns-train's table."""

WARM_UP_STEPS = 64
"""Number of steps that reach every kernel once, so that no later training time includes compiling them."""

_LONGEST_GOODBYE = 60.0
"""Seconds that a training whose starter was killed may take to write its checkpoint."""

_LOG_LINES_SHOWN = 25
"""Number of lines to show of a failed command's log."""


@dataclass(frozen=True)
class TrainedRun:
    """The result of one ns-train."""

    config: Path
    steps: int
    train_seconds: float
    """Time of the training loop, up to the last checkpoint."""
    command_seconds: float
    """Time of the whole command: imports, loading data, building the model, and training."""
    resumed: bool = False
    """Whether it went on from an earlier training's checkpoints; its times are those of its last part then."""


def run_command(script: str, arguments: list[str], log: Path, title: str) -> float:
    """Runs `ns-<script>` with a progress bar.

    Args:
        script: the name of the command without `ns-`.
        arguments: its command line.
        log: the file for its output.
        title: the text beside the progress bar.

    Returns:
        Its wall time in seconds.

    Raises:
        UserError: if it fails, with the end of its log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with log.open("wb") as out, progress_bar(title) as bar:
        process = child_command.start(f"nerfstudio.scripts.{script}", arguments, stdout=out, stderr=STDOUT)
        try:
            while process.poll() is None:
                time.sleep(0.25)
                found = _PROGRESS.findall(child_command.tail(log, most=4000))
                if found:
                    bar(float(found[-1]), 100)
        finally:
            child_command.ask_to_end(process)
            process.wait()
    if process.returncode:
        end = child_command.tail(log, lines=_LOG_LINES_SHOWN)
        raise UserError(f"ns-{script} failed with code {process.returncode}; the end of {log}:\n{end}")
    return time.perf_counter() - start


def train(
    method: str, data: Path, runs: Path, name: str, steps: int, options: list[str], log: Path, title: str
) -> TrainedRun:
    """Runs `ns-train` to its end.

    Args:
        method: a registered method.
        data: the folder of the data.
        runs: nerfstudio's output folder.
        name: the name of the experiment.
        steps: the number of training steps.
        options: further options of the method.
        log: the file for the output.
        title: the text beside the progress bar.

    Returns:
        The run. A training whose checkpoints are there goes on from them.
    """
    folder = runs / name / method / "run"
    checkpoints = folder / "nerfstudio_models"
    last = checkpoints / f"step-{steps - 1:09d}.ckpt"
    # nerfstudio writes this file when the loop begins, and the checkpoint when it has ended.
    begin = folder / "dataparser_transforms.json"
    _wait_for_the_training_before(folder)
    started, resumed = time.perf_counter(), bool(checkpoints_in(checkpoints))
    if not last.is_file():
        arguments = [method, "--data", str(data), "--output-dir", str(runs), "--experiment-name", name]
        arguments += ["--timestamp", "run", "--max-num-iterations", str(steps), "--vis", "tensorboard"]
        if resumed:
            arguments += ["--load-dir", str(checkpoints)]
        run_command("train", [*arguments, *options], log, title)
    for file in (last, begin):
        if not file.is_file():
            raise UserError(f"{file}: ns-train ended without writing this file. Its output is in {log}.")
    train_seconds = last.stat().st_mtime - begin.stat().st_mtime
    return TrainedRun(folder / "config.yml", steps, train_seconds, time.perf_counter() - started, resumed)


def _wait_for_the_training_before(folder: Path) -> None:
    """A training whose starter was killed writes its last checkpoint; nobody else may train there meanwhile."""
    deadline = time.monotonic() + _LONGEST_GOODBYE
    while True:
        try:
            return RunLock.check(folder)
        except UserError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
