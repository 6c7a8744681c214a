# Copyright 2026 the nerfstudio-avatars authors. Licensed under the Apache License, Version 2.0.
"""Animatable avatars for nerfstudio: people who move in any motion, and faces moved by another's video.

    from nerfstudio_avatars import Avatar, LearntKind

Nothing else is imported before it is asked for: nerfstudio imports this package for every `ns-*` command, before its
own modules are complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nerfstudio_avatars import kernel_cache

if TYPE_CHECKING:
    from nerfstudio_avatars.avatars.avatar import Avatar
    from nerfstudio_avatars.avatars.learnt_kind import LearntKind

__all__ = ["Avatar", "LearntKind", "__version__"]
__version__ = "0.1.0"

# Before anybody imports numba, which reads the place when it is imported.
kernel_cache.settle()

_PLACES = {"Avatar": "avatar", "LearntKind": "learnt_kind"}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.avatars.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
