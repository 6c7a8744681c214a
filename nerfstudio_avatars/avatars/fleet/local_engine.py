"""Jobs on this machine: as many at a time as it has GPUs, or as cores and memory allow, each kept to its own cores."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event

from nerfstudio_avatars.avatars.fleet.engine import Attempt, Resources, job_environment, start_job
from nerfstudio_avatars.nerfstudio_glue.child_command import ask_to_end


@dataclass(frozen=True)
class _Place:
    """What one job at a time has."""

    cores: frozenset[int]
    """Numbers of its cores; empty where it may use all of them."""
    environment: dict[str, str]


class LocalEngine:
    """A pool of threads, each of which waits for one job's process."""

    def __init__(self, resources: Resources, jobs: int, gpus: int) -> None:
        self._environment = job_environment(resources)
        self._pool = ThreadPoolExecutor(jobs)
        self._running: set[subprocess.Popen] = set()
        self._stopping = Event()
        self._places: SimpleQueue[_Place] = SimpleQueue()
        for number, cores in enumerate(_shares(jobs, resources.threads)):
            self._places.put(_Place(cores, {"CUDA_VISIBLE_DEVICES": str(number % gpus)} if gpus else {}))

    def start(self, files: Sequence[Path]) -> list[Attempt]:
        """Queues jobs."""
        return [_Queued(self._pool.submit(self._run, file)) for file in files]

    def stop(self) -> None:
        """Asks all jobs to stop; trainings write a checkpoint."""
        self._stopping.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in list(self._running):
            ask_to_end(process)
        for process in list(self._running):
            process.wait()

    def _run(self, file: Path) -> None:
        if self._stopping.is_set():
            return
        place = self._places.get()
        try:
            process = start_job(file, {**self._environment, **place.environment})
            if place.cores:  # What it starts inherits them.
                os.sched_setaffinity(process.pid, place.cores)
            self._running.add(process)
            try:
                process.wait()
            finally:
                self._running.discard(process)
                ask_to_end(process)
        finally:
            self._places.put(place)


def _shares(jobs: int, threads: int) -> list[frozenset[int]]:
    """The cores of each job that runs at a time; none where they do not suffice, or the system cannot pin."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if jobs * threads > len(cores):
        return [frozenset()] * jobs
    return [frozenset(cores[job * threads : (job + 1) * threads]) for job in range(jobs)]


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
