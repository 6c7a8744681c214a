"""Runs one job to its end, in a process of its own, which gets the job's file and ends with the one that started it.

What is done already is left alone, and a training that was cut off goes on from its last checkpoint. If this process is
killed, its command stops too, with a checkpoint.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

from nerfstudio_avatars.avatars.fleet.job import Job, Stage, complaint, log_file, read_job
from nerfstudio_avatars.nerfstudio_glue import child_command

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PROGRAMS = {"ns-train": "nerfstudio.scripts.train", "ns-avatar": "nerfstudio_avatars.cli"}
"""The modules behind the commands, so that the same environment's are run, whatever the search path."""


class _StoppedError(Exception):
    """The job was asked to stop."""


def main(file: Path) -> int:
    """Runs the job's commands that have not been done.

    Returns:
        0 if all are done, 1 if one failed, 143 if the job was asked to stop.
    """
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    try:
        with _lock(file):
            job = read_job(file)
            if job.state == "done" and job.next_stage() is None:
                return 0
            job = job.write(file, state="running")
            try:
                while (stage := job.next_stage()) is not None:
                    job = _run_stage(file, job, stage)
                    if job.state == "failed":
                        return 1
            except OSError as error:
                job.write(file, state="failed", failures=job.failures + 1, last_lines=str(error))
                return 1
            job.write(file, state="done", last_lines="")
    except _StoppedError:
        return 128 + signal.SIGTERM
    return 0


def is_running(file: Path) -> bool:
    """Whether a process is at work on a job."""
    if fcntl is None:
        return False
    place = _lock_file(file)
    if not place.is_file():
        return False
    with place.open("a+") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _run_stage(file: Path, job: Job, stage: Stage) -> Job:
    started = time.time()
    output = file.parent.parent
    log = log_file(output, job.name, stage.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    code, since = _run_command([*stage.words[:2], *_resuming(job, stage), *stage.words[2:]], log)
    seconds = {**job.seconds, stage.name: job.seconds.get(stage.name, 0.0) + time.time() - started}
    if code:
        last = complaint(child_command.tail(log, since)) or f"{stage.words[0]} ended with code {code} and said nothing"
        return job.write(file, state="failed", failures=job.failures + 1, last_lines=last, seconds=seconds)
    return job.write(file, finished={**job.finished, stage.name: stage.words}, seconds=seconds)


def _resuming(job: Job, stage: Stage) -> list[str]:
    """The option that lets a training go on, if there is a checkpoint."""
    folder = Path(job.run) / "nerfstudio_models"
    return ["--load-dir", str(folder)] if stage.name == "train" and any(folder.glob("step-*.ckpt")) else []


def _run_command(words: list[str], log: Path) -> tuple[int, int]:
    """Runs a command with its output added to a file.

    Returns:
        Its code, and the position in the file after which its output is.

    Raises:
        _StoppedError: if this process is asked to stop; the command was asked too, and has ended.
    """
    with log.open("ab") as out:
        out.write(f"$ {shlex.join(words)}\n".encode())
        out.flush()
        since = out.tell()
        # Locks are held on to, so that nobody else takes up the job while its command still writes a last checkpoint.
        process = child_command.start(
            _PROGRAMS[words[0]], words[1:], stdout=out, stderr=subprocess.STDOUT, pass_fds=tuple(_held)
        )
        try:
            return process.wait(), since
        finally:
            child_command.ask_to_end(process)
            process.wait()


def _stop(*_: Any) -> None:
    raise _StoppedError


_held: list[int] = []
"""Files whose locks this process holds."""


class _lock:
    """Waits until no other process works on a job, and keeps others away until this one and its command have ended."""

    def __init__(self, file: Path) -> None:
        self._place = _lock_file(file)
        self._file: IO[str] | None = None

    def __enter__(self) -> None:
        if fcntl is None:
            return
        self._file = self._place.open("a+")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        _held.append(self._file.fileno())

    def __exit__(self, *_: Any) -> None:
        if self._file is not None:
            _held.remove(self._file.fileno())
            self._file.close()


def _lock_file(file: Path) -> Path:
    return file.with_suffix(".lock")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
