"""Checks the machine: GPU, cores, threads, memory, disk."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from nerfstudio_avatars.doctor.finding import Finding
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.files import check_folder
from nerfstudio_avatars.kernel_cache import VARIABLE, lasting_place

GB = 1e9
_MEMORY_TO_TRAIN = 2 * GB
"""`benchmarks/train_step.py` peaks at 1.5 GB."""
_DISK_TO_TRAIN = 0.5 * GB
"""Checkpoints of `instant-avatar` take about 200 MB (hash table, Adam's two moments), and two are on disk at a time."""
_OLDEST_CAPABILITY = (7, 0)
"""Oldest compute capability of a GPU that Triton 3 supports."""
_CUDA_ON_A_CPU = "ns-train instant-avatar-cpu --data DATA"


def device() -> Finding:
    """Checks the GPU by adding two numbers on it; without one, reports the processor."""
    import torch

    processor = f"{_processor_name()}, {usable_cores()} cores"
    if not torch.cuda.is_available():
        if nvidia_card():
            built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
            found = f"an NVIDIA GPU that torch {torch.__version__} ({built}) cannot use; {processor}"
            return Finding("device", "slow", found, "pip install --force-reinstall torch torchvision")
        return Finding("device", "slow", f"no CUDA GPU; {processor}", _CUDA_ON_A_CPU)
    properties = torch.cuda.get_device_properties(0)
    capability = (properties.major, properties.minor)
    name = (
        f"{properties.name}, {properties.total_memory / GB:.0f} GB, compute capability {'.'.join(map(str, capability))}"
    )
    try:
        torch.ones(2, device="cuda").sum().item()
    except RuntimeError as error:
        found = f"{name}, on which torch {torch.__version__} fails: {str(error).splitlines()[0]}"
        return Finding("device", "slow", found, _CUDA_ON_A_CPU)
    if capability < _OLDEST_CAPABILITY:
        found = f"{name}: too old for the Triton kernels"
        return Finding("device", "slow", found, "export NERFSTUDIO_AVATARS_BACKEND=torch")
    return Finding("device", "ok", f"{name}; {processor}")


def nvidia_card() -> bool:
    """Whether a driver has found an NVIDIA GPU, whether or not torch can use it."""
    return Path("/proc/driver/nvidia/version").is_file() or shutil.which("nvidia-smi") is not None


def _processor_name() -> str:
    """The processor's full name, if the system knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf8", "replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def usable_cores(quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Number of cores that this process may use, according to its affinity and the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _numbers(quota_file)
    return max(1, min(cores, round(quota[0] / quota[1]))) if len(quota) == 2 else cores


def _numbers(file: Path) -> list[float]:
    """The numbers in a file of a control group; none if there is no such file, or it says `max`."""
    try:
        return [float(word) for word in file.read_text("ascii").split()]
    except (OSError, ValueError):
        return []


def _shell_environment() -> Mapping[str, str]:
    """Environment variables as the shell set them, if the system kept them. `ns-avatar` sets some when it starts."""
    try:
        lines = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return dict(os.environ)
    pairs = (os.fsdecode(line).partition("=") for line in lines if b"=" in line)
    return {name: value for name, _, value in pairs}


_THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def cores(given: Mapping[str, str] | None = None, usable: int | None = None) -> Finding:
    """Compares the number of threads that torch and numba start with the number of cores.

    Args:
        given: environment variables; by default those of the shell.
        usable: number of cores; by default `usable_cores()`.
    """
    import torch

    given = _shell_environment() if given is None else given
    usable = usable_cores() if usable is None else usable
    limits = [name for name in _THREAD_LIMITS if given.get(name, "").isdigit() and int(given[name]) < usable]
    if limits:
        said = ", ".join(f"{name}={given[name]}" for name in limits)
        return Finding("threads", "slow", f"{said} leaves some of the {usable} cores idle", f"unset {' '.join(limits)}")
    threads = torch.get_num_threads()
    if threads > usable:
        found = f"torch starts {threads} threads, but only {usable} cores are available"
        return Finding("threads", "slow", found, f"export OMP_NUM_THREADS={usable} NUMBA_NUM_THREADS={usable}")
    return Finding("threads", "ok", f"torch uses {threads} threads on {usable} cores")


def idle_threads(given: Mapping[str, str] | None = None, system: str | None = None, gpu: bool | None = None) -> Finding:
    """Checks that torch's idle OpenMP threads sleep in nerfstudio's own commands, instead of taking cores from numba.

    Args:
        given: environment variables; by default those of the shell.
        system: the system, as in `platform.system()`; only on Linux does torch bring an OpenMP whose threads spin.
        gpu: whether there is a GPU; if so, it does the work.
    """
    import torch

    given = _shell_environment() if given is None else given
    if (platform.system() if system is None else system) != "Linux":
        return Finding("idle threads", "ok", "no setting needed on this system")
    if torch.cuda.is_available() if gpu is None else gpu:
        return Finding("idle threads", "ok", "no setting needed with a GPU")
    if given.get("OMP_WAIT_POLICY", "").lower() == "passive" and given.get("GOMP_SPINCOUNT") == "0":
        return Finding("idle threads", "ok", "OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=0")
    found = (
        "idle threads of torch keep cores busy in ns-train, ns-viewer, ns-render and ns-eval (ns-avatar prevents it)"
    )
    return Finding("idle threads", "slow", found, "export OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=0")


def memory(limit_file: Path = Path("/sys/fs/cgroup/memory.max")) -> Finding:
    """Checks how much memory is free now, within the limit of the container."""
    import psutil

    now = psutil.virtual_memory()
    limit = min([now.total, *_numbers(limit_file)])
    free = min(now.available, limit)
    found = f"{free / GB:.1f} of {limit / GB:.1f} GB are free"
    if free < _MEMORY_TO_TRAIN:
        found += f"; training takes up to {_MEMORY_TO_TRAIN / GB:.0f} GB and may have to swap"
        return Finding("memory", "slow", found, "Close other programs.")
    return Finding("memory", "ok", found)


def kernels(given: Mapping[str, str] | None = None) -> Finding:
    """Checks that compiled kernels are kept for the next time.

    Args:
        given: environment variables; by default those of the shell.
    """
    place = lasting_place(_shell_environment() if given is None else given)
    if place is None:
        found = "compiled anew each time, because neither the package's folder nor the home can be written to"
        return Finding("kernels", "slow", found, f"export {VARIABLE}=/a/folder/of/yours")
    return Finding("kernels", "ok", f"compiled once, and kept in {place}")


def disk(folder: Path = Path("outputs")) -> Finding:
    """Checks how much disk space is free in the folder that `ns-train` writes to by default."""
    elsewhere = "ns-train METHOD --data DATA --output-dir /another/disk/outputs"
    try:
        check_folder(folder)
    except UserError as error:
        return Finding("disk", "missing", str(error), elsewhere, stops_training=True)
    place = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(place).free
    found = f"{free / GB:.1f} GB are free for {folder.absolute()}"
    if free < _DISK_TO_TRAIN:
        found += f"; a run takes up to {_DISK_TO_TRAIN / GB:.1f} GB"
        return Finding("disk", "missing", found, elsewhere, stops_training=True)
    return Finding("disk", "ok", found)
