"""The engines by name. Only the module of the chosen one is imported."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from nerfstudio_avatars.avatars.fleet.engine import Engine, Resources
from nerfstudio_avatars.errors import UserError

EngineName = Literal["local", "ray", "slurm"]


def make_engine(
    name: EngineName, resources: Resources, jobs: int, gpus: int, output: Path, options: Iterable[str]
) -> Engine:
    """An engine by its name.

    Args:
        name: of the engine.
        resources: of each job.
        jobs: number of jobs at a time, where the engine does not know better.
        gpus: number of GPUs of this machine.
        output: the fleet's folder.
        options: `name=value` pairs for the engine itself.

    Raises:
        UserError: an engine whose package is not installed, or options that it does not know.
    """
    pairs = dict(pair.split("=", 1) for pair in options if "=" in pair)
    odd = [pair for pair in options if "=" not in pair]
    if odd:
        raise UserError(f"--engine-options {odd[0]}: expected name=value, as in partition=gpu.")
    if name == "ray":
        from nerfstudio_avatars.avatars.fleet.ray_engine import RayEngine

        return RayEngine(resources, jobs, pairs)
    if name == "slurm":
        from nerfstudio_avatars.avatars.fleet.slurm_engine import SlurmEngine

        return SlurmEngine(resources, output / "slurm", pairs)
    from nerfstudio_avatars.avatars.fleet.local_engine import LocalEngine

    if pairs:
        raise UserError(f"--engine-options {next(iter(pairs))}: the local engine has none. Leave it out.")
    return LocalEngine(resources, jobs, gpus)
