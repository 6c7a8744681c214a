"""The whole examination, in the order in which it is reported."""

from __future__ import annotations

from collections.abc import Callable

from nerfstudio_avatars.doctor import files, hardware, packages, programs
from nerfstudio_avatars.doctor.finding import Finding

_NEED_NO_TORCH: tuple[Callable[[], Finding], ...] = (
    packages.python,
    packages.requirements,
    packages.compiled,
    packages.registration,
    packages.torch_pair,
)
_NEED_TORCH: tuple[Callable[[], Finding], ...] = (
    hardware.device,
    packages.hot_loops,
    packages.tiny_cuda_nn,
    hardware.cores,
    hardware.idle_threads,
)
_THE_REST: tuple[Callable[[], Finding], ...] = (
    hardware.memory,
    hardware.disk,
    hardware.kernels,
    files.standin_body,
    files.smpl_bodies,
    files.people_networks,
    files.face_networks,
)
WEIGHTS: tuple[Callable[[], Finding], ...] = (files.vgg19, files.efficientnet, files.alexnet)
_PROGRAMS: tuple[Callable[[], Finding], ...] = (programs.ffmpeg, programs.browser)


def examine() -> list[Finding]:
    """Examines everything, which takes a few seconds, mostly to import torch. Nothing is written or downloaded.

    Returns:
        One finding for each topic. If torch cannot be imported, topics that need it are left out; `packages.torch_pair`
        then reports that nothing can be trained.
    """
    with_torch = packages.torch_imports()
    checks = _NEED_NO_TORCH + (_NEED_TORCH if with_torch else ())
    checks += _THE_REST + (WEIGHTS if with_torch else ()) + _PROGRAMS
    return [check() for check in checks]
