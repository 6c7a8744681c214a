"""What an engine is: something that runs jobs, here or elsewhere. Three adapters exist, and no scheduler of ours."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from nerfstudio_avatars.nerfstudio_glue import child_command

_THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables that the libraries read their number of threads from."""


@runtime_checkable
class Attempt(Protocol):
    """A job that an engine was given."""

    def done(self) -> bool:
        """Whether the engine is finished with it, for better or worse; the job's file says which."""
        ...


@runtime_checkable
class Engine(Protocol):
    """Runs jobs that lie on a disk which all its machines share."""

    def start(self, files: Sequence[Path]) -> list[Attempt]:
        """Takes jobs, given by their files, and returns at once."""
        ...

    def stop(self) -> None:
        """Asks jobs that have not ended to stop, and waits for them; a queue of others' keeps them."""
        ...


@dataclass(frozen=True)
class Resources:
    """What one job is given."""

    threads: int = 1
    """Number of cores."""
    gpus: float = 0
    """Number of GPUs, or a share of one."""
    memory_gb: float = 3.0
    """Amount of memory that a job is expected to take, in gigabytes."""


def start_job(file: Path, environment: dict[str, str]) -> subprocess.Popen:
    """Starts a job, which ends with this process.

    Args:
        environment: variables to be set besides those that are there.
    """
    arguments = [str(file.absolute())]
    return child_command.start(f"{__package__}.job_process", arguments, env={**os.environ, **environment})


def job_environment(resources: Resources) -> dict[str, str]:
    """Variables that keep a job to its cores, to be set besides those that are there."""
    # Jobs import what this program does, wherever it was started.
    paths = [str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = dict.fromkeys(_THREADS, str(resources.threads)) | {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
    return own | {"PYTHONPATH": os.pathsep.join(paths)}
