"""All that is looked at, in the order in which it is told."""

from __future__ import annotations

from collections.abc import Callable

from nerfstudio_avatars.doctor import files, hardware, packages, programs
from nerfstudio_avatars.doctor.finding import Finding

NEED_NO_TORCH: tuple[Callable[[], Finding], ...] = (
    packages.python,
    packages.requirements,
    packages.compiled,
    packages.registration,
    packages.torch_pair,
)
NEED_TORCH: tuple[Callable[[], Finding], ...] = (
    hardware.device,
    packages.hot_loops,
    packages.tiny_cuda_nn,
    hardware.cores,
    hardware.idle_threads,
)
THE_REST: tuple[Callable[[], Finding], ...] = (
    hardware.memory,
    hardware.disk,
    hardware.kernels,
    files.standin_body,
    files.smpl_bodies,
    files.people_networks,
    files.face_networks,
)
WEIGHTS: tuple[Callable[[], Finding], ...] = (files.vgg19, files.efficientnet, files.alexnet)
PROGRAMS: tuple[Callable[[], Finding], ...] = (programs.ffmpeg, programs.browser)


def examine() -> list[Finding]:
    """Looks at everything; takes a few seconds, most of them to import torch. Writes and downloads nothing.

    Returns:
        One finding a topic. Where torch does not import, what only torch could tell is left out: `packages.torch_pair`
        says so and stops training.
    """
    with_torch = packages.torch_imports()
    checks = NEED_NO_TORCH + (NEED_TORCH if with_torch else ())
    checks += THE_REST + (WEIGHTS if with_torch else ()) + PROGRAMS
    return [check() for check in checks]
