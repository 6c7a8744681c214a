"""Jobs on this machine: as many at a time as it has GPUs, or as cores and memory allow, each kept to its own cores."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from threading import Event

from nerfstudio_avatars.avatars.fleet.engine import (
    Attempt,
    Resources,
    ask_to_stop,
    job_command,
    job_environment,
)


class LocalEngine:
    """A pool of threads, each of which waits for one job's process."""

    def __init__(self, resources: Resources, jobs: int, gpus: int) -> None:
        self._environment = {**os.environ, **job_environment(resources)}
        # Its threads live as long as the program: a job ends when the thread that started it does.
        self._pool = ThreadPoolExecutor(jobs)
        self._running: set[subprocess.Popen] = set()
        self._stopping = Event()
        self._places: SimpleQueue[dict[str, str]] = SimpleQueue()
        for place in range(jobs):
            self._places.put({"CUDA_VISIBLE_DEVICES": str(place % gpus)} if gpus else {})

    def start(self, files: Sequence[Path]) -> list[Attempt]:
        """Queues jobs."""
        return [_Queued(self._pool.submit(self._run, file)) for file in files]

    def stop(self) -> None:
        """Asks all jobs to stop; trainings write a checkpoint."""
        self._stopping.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in list(self._running):
            ask_to_stop(process)
        for process in list(self._running):
            process.wait()

    def _run(self, file: Path) -> None:
        if self._stopping.is_set():
            return
        place = self._places.get()
        try:
            # In a session of its own, which Ctrl-C in this terminal does not reach.
            command, environment = job_command(file), {**self._environment, **place}
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
            self._running.add(process)
            try:
                process.wait()
            finally:
                self._running.discard(process)
        finally:
            self._places.put(place)


class _Queued:
    def __init__(self, future: Future) -> None:
        self._future = future

    def done(self) -> bool:
        if self._future.done() and not self._future.cancelled():
            self._future.result()  # What no job should raise is not swallowed.
        return self._future.done()


def jobs_at_once(gpus: int, cores: int, free_gb: float, memory_gb: float) -> int:
    """How many jobs a machine takes at a time.

    Args:
        gpus: number of GPUs; each takes one job.
        cores: number of cores.
        free_gb: amount of free memory in gigabytes.
        memory_gb: amount that one job takes.
    """
    return gpus or max(1, min(cores, int(free_gb // memory_gb)))
