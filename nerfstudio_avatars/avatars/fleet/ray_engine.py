"""Jobs on a Ray cluster: placement, resources, and what becomes of jobs whose worker is lost, are Ray's."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nerfstudio_avatars.avatars.fleet.engine import Attempt, Resources, job_environment, start_job
from nerfstudio_avatars.avatars.fleet.job import RETRIES
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.nerfstudio_glue.child_command import ask_to_end

_WAY = "pip install 'nerfstudio-avatars[ray]'"
_OPTIONS = ("address",)
_STORE = 100_000_000
"""Memory for what tasks return, in bytes; a job returns nothing."""
_STOPPING = 60
"""Seconds that trainings are given for a last checkpoint."""


class RayEngine:
    """An existing cluster (`RAY_ADDRESS`, or the option `address`), or one on this machine for as long as it takes.

    Args:
        resources: of each job.
        jobs: number of workers of a cluster on this machine.
        options: `address` of a cluster.

    Raises:
        UserError: Ray is not installed, cannot be reached, or an option is unknown.
    """

    def __init__(self, resources: Resources, jobs: int, options: dict[str, str]) -> None:
        unknown = [name for name in options if name not in _OPTIONS]
        if unknown:
            raise UserError(f"--engine-options {unknown[0]}: expected {', '.join(_OPTIONS)}.")
        # Ray's records of how it is used go to its makers unless this is said.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray as module
        except ImportError as error:
            raise UserError(f"--engine ray: Ray is not installed ({error}). Install it: {_WAY}") from error
        ray: Any = module
        self._ray = ray
        address = options.get("address") or os.environ.get("RAY_ADDRESS")
        # Without a word for it, Ray looks for a cluster on this machine, and then refuses the numbers.
        own: dict[str, Any] = {"address": "local", "include_dashboard": False, "object_store_memory": _STORE}
        own |= {"num_cpus": resources.threads * jobs, "num_gpus": round(resources.gpus * jobs)}
        where = {"address": address} if address else own
        for last in (False, True):
            try:
                ray.init(**where, log_to_driver=False, logging_level=logging.CRITICAL)
                break
            except Exception as error:  # Ray has no narrower word for a cluster that did not come up.
                if last or address:
                    raise UserError(
                        f"--engine ray: no cluster at {address or 'this machine'} ({str(error).splitlines()[0]}). "
                        "Start one with `ray start --head`, or leave its address out. If it is there, it may want its "
                        "token: set RAY_AUTH_MODE=token."
                    ) from error
                ray.shutdown()  # A busy machine may take longer than the half minute that Ray waits.
        self._attempt = ray.remote(
            num_cpus=resources.threads,
            num_gpus=resources.gpus,
            memory=int(resources.memory_gb * 1e9) if address else None,
            max_retries=RETRIES,
        )(_attempt)
        self._environment = job_environment(resources)
        self._started: list[Any] = []

    def start(self, files: Sequence[Path]) -> list[Attempt]:
        """Hands jobs to Ray."""
        started = [self._attempt.remote(str(file.absolute()), self._environment) for file in files]
        self._started += started
        return [_Submitted(self._ray, reference) for reference in started]

    def stop(self) -> None:
        """Asks all jobs to stop, and leaves the cluster, which ends if it was made for them."""
        for reference in self._started:
            self._ray.cancel(reference)
        if self._started:
            self._ray.wait(self._started, num_returns=len(self._started), timeout=_STOPPING)
        self._ray.shutdown()


class _Submitted:
    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray, self._reference = ray, reference

    def done(self) -> bool:
        return bool(self._ray.wait([self._reference], timeout=0)[0])


def _attempt(file: str, environment: dict[str, str]) -> None:
    """Runs in a worker. If that is killed, or its machine is lost, Ray tries again elsewhere."""
    process = start_job(Path(file), environment)
    try:
        process.wait()
    finally:
        ask_to_end(process)
        process.wait()
