"""Runs one job to its end, in a process of its own: `python -m nerfstudio_avatars.avatars.fleet.job_process FILE`.

What is done already is left alone, and a training that was cut off goes on from its last checkpoint. If the program
that started this process is killed, the process asks its command to stop, and ends too.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

from nerfstudio_avatars.avatars.fleet.job import Job, Stage, complaint, log_file, read_job, tail

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PROGRAMS = {"ns-train": "nerfstudio.scripts.train", "ns-avatar": "nerfstudio_avatars.cli"}
"""The modules behind the commands, so that the same environment's are run, whatever the search path."""
_DIE_WITH_PARENT = 1
"""Linux's PR_SET_PDEATHSIG."""


class _StoppedError(Exception):
    """The job was asked to stop."""


def main(file: Path) -> int:
    """Runs the job's commands that have not been done.

    Returns:
        0 if all are done, 1 if one failed, 143 if the job was asked to stop.
    """
    _end_with_parent()
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
        last = complaint(tail(log, since)) or f"{stage.words[0]} ended with code {code} and said nothing"
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
    command = [sys.executable, "-m", _PROGRAMS[words[0]], *words[1:]]
    with log.open("ab") as out:
        out.write(f"$ {shlex.join(words)}\n".encode())
        out.flush()
        since = out.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            # Held on to, so that nobody else takes up the job while its command still writes a last checkpoint.
            pass_fds=tuple(_held),
            # This process has no other threads, of which the child could inherit a lock.
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
        )
        try:
            return process.wait(), since
        except BaseException:
            process.terminate()
            process.wait()
            raise


def _stop(*_: Any) -> None:
    raise _StoppedError


def _end_with_parent() -> None:
    """Asks Linux to end this process (SIGTERM) when the one that started it is gone, even if that was killed."""
    if sys.platform != "linux":
        return
    import ctypes

    parent = os.getppid()
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


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
