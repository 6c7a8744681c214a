"""Runs ns-train and records how much memory it used."""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from nerfstudio_avatars.avatars.nerfstudio_commands import TrainedRun, train

GPU_MEMORY = "GPU Memory (MB)"
"""The name under which nerfstudio logs torch's peak memory."""


def train_measured(**arguments: Any) -> tuple[TrainedRun, float | None]:
    """Trains (see `nerfstudio_commands.train`), and returns the peak memory in MiB, or None if it is not known.

    The system reports the largest child over the whole life of a process, so each training gets a parent of its own.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_train, arguments).result()


def _train(arguments: dict[str, Any]) -> tuple[TrainedRun, float | None]:
    trained = train(**arguments)
    try:
        import resource
    except ImportError:  # Windows
        return trained, None
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return trained, peak / (1024**2 if sys.platform == "darwin" else 1024)


def peak_gpu_memory(run: Path) -> float | None:
    """Torch's peak GPU memory in MiB, from the run's TensorBoard log; None without a log or a GPU."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(run), size_guidance={"scalars": 0})
    log.Reload()
    if GPU_MEMORY not in log.Tags()["scalars"]:
        return None
    return max(event.value for event in log.Scalars(GPU_MEMORY)) or None
