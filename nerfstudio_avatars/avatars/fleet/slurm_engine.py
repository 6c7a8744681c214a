"""Jobs in Slurm's queue, through submitit: arrays, and requeueing of what was preempted or ran out of time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nerfstudio_avatars.avatars.fleet.engine import Attempt, Resources, job_environment, start_job
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.files import write_text

_WAY = "pip install 'nerfstudio-avatars[slurm]'"
_MINUTES = 240
"""Time limit of a job in minutes, unless another is asked for."""


class SlurmEngine:
    """Slurm's queue. Jobs stay in it when this program ends, and are found again when it is started again.

    Args:
        resources: of each job.
        folder: for submitit's files, on a disk that all machines share.
        options: submitit's parameters, such as `slurm_partition` and `timeout_min`; and `cluster`, which is `slurm`, or
            `local` for processes on this machine.

    Raises:
        UserError: submitit is not installed, there is no Slurm, or an option is unknown.
    """

    def __init__(self, resources: Resources, folder: Path, options: dict[str, str]) -> None:
        try:
            import submitit
        except ImportError as error:
            raise UserError(f"--engine slurm: submitit is not installed ({error}). Install it: {_WAY}") from error
        cluster = options.get("cluster", "slurm")
        self._folder, self._environment = folder, job_environment(resources)
        try:
            self._executor = submitit.AutoExecutor(folder, cluster=cluster)
            self._executor.update_parameters(
                **{
                    "timeout_min": _MINUTES,
                    "cpus_per_task": resources.threads,
                    "gpus_per_node": round(resources.gpus),
                    "mem_gb": resources.memory_gb,
                    "name": "fleet",
                    **{name: _number(value) for name, value in options.items() if name != "cluster"},
                }
            )
        except (RuntimeError, NameError, ValueError, TypeError) as error:
            raise UserError(
                f"--engine slurm: {str(error).strip().splitlines()[0]} Expected Slurm's commands on this machine, and "
                "parameters of submitit in --engine-options, such as slurm_partition=gpu or timeout_min=120."
            ) from error
        self._job_kind: Any = self._executor._executor.job_class

    def start(self, files: Sequence[Path]) -> list[Attempt]:
        """Puts jobs into the queue, as one array; those that still wait there are left alone."""
        attempts: dict[Path, Attempt] = {file: job for file in files if (job := self._queued(file)) is not None}
        missing = [file for file in files if file not in attempts]
        submitted = []
        if missing:
            with self._executor.batch():
                for file in missing:
                    submitted.append(self._executor.submit(_Attempt(str(file.absolute()), self._environment)))
        for file, job in zip(missing, submitted, strict=True):
            write_text(_note(file), job.job_id)
            attempts[file] = job
        return [attempts[file] for file in files]

    def stop(self) -> None:
        """Leaves the queue as it is."""

    def _queued(self, file: Path) -> Any:
        note = _note(file)
        if not note.is_file():
            return None
        job = self._job_kind(self._folder, note.read_text("utf8").strip())
        return None if job.done(force_check=True) else job


class _Attempt:
    """Runs where Slurm places it. Submitit asks for `checkpoint` when the time is over, and puts the result back."""

    def __init__(self, file: str, environment: dict[str, str]) -> None:
        self._file, self._environment = file, environment

    def __call__(self) -> int:
        with start_job(Path(self._file), self._environment) as process:
            return process.wait()

    def checkpoint(self) -> Any:
        import submitit

        return submitit.helpers.DelayedSubmission(_Attempt(self._file, self._environment))


def _note(file: Path) -> Path:
    return file.with_suffix(".slurm")


def _number(value: str) -> str | int:
    return int(value) if value.isdecimal() else value
