"""Patches for what nerfstudio 1.1.5 breaks with current libraries, in one place. Each part is safe to call twice.

OpenMP's waiting policy cannot be patched from here. libgomp reads OMP_WAIT_POLICY and GOMP_SPINCOUNT when it is
loaded, with torch, and stock commands import torch before they import a plugin. `calm_openmp` therefore belongs in
entry modules that run before torch; called later, it only affects child processes.
"""

from __future__ import annotations

import functools
import importlib
import os
import shutil
import stat
import sys
import types
from pathlib import Path
from typing import Any

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.nerfstudio_glue.checkpoints import allow_scheduler_scalars
from nerfstudio_avatars.nerfstudio_glue.config_loading import read_our_runs_as_plain_data
from nerfstudio_avatars.nerfstudio_glue.known_warnings import quieten
from nerfstudio_avatars.nerfstudio_glue.opened_runs import check_configurations
from nerfstudio_avatars.nerfstudio_glue.stock_commands import hear_of_lost_output, tell_users_errors_alone
from nerfstudio_avatars.whole_files import whole_file


def heal() -> None:
    """Applies every patch that stock `ns-*` commands need; called when the methods are registered."""
    quieten()
    calm_openmp()
    allow_scheduler_scalars()
    provide_ffmpeg()
    keep_viewer_local()
    tell_users_errors_alone()
    hear_of_lost_output()
    check_configurations()
    read_our_runs_as_plain_data()


def calm_openmp() -> None:
    """Makes idle OpenMP threads sleep. On few cores, spinning threads would slow down those that work."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")


def provide_ffmpeg(cache: Path | None = None) -> None:
    """Puts imageio-ffmpeg's binary on PATH as `ffmpeg` if there is none; `ns-render` needs it.

    Args:
        cache: the folder for the link; by default the user's cache folder.
    """
    if shutil.which("ffmpeg") is not None:
        return
    try:
        import imageio_ffmpeg

        binary = Path(imageio_ffmpeg.get_ffmpeg_exe())
        folder = cache or _cache_folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not _owned(folder):
            return
        _link(folder / ("ffmpeg.exe" if os.name == "nt" else "ffmpeg"), binary)
    except (ImportError, RuntimeError, OSError, UserError):
        # Only ns-render needs it, and says itself that it is missing.
        return
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), str(folder)])


def keep_viewer_local() -> None:
    """Makes `ns-viewer` listen on this computer only by default; unpatched, it serves the whole network.

    It ignores the run's configuration and has options of its own, in a class made from ViewerConfig after plugins are
    imported. The default is changed in that class alone, so `ns-train` keeps the default of each method.
    """
    from nerfstudio.configs.base_config import ViewerConfig

    def listen_here(cls: type, **arguments: object) -> None:
        super(ViewerConfig, cls).__init_subclass__(**arguments)  # type: ignore[misc]
        if cls.__name__ == "ViewerConfigWithoutNumRays" and "websocket_host" not in vars(cls):
            cls.__annotations__["websocket_host"] = "str"
            cls.websocket_host = "127.0.0.1"  # type: ignore[attr-defined]

    ViewerConfig.__init_subclass__ = classmethod(listen_here)  # type: ignore[assignment]


def compile_when_called() -> None:
    """Lets nerfstudio's modules be imported without torch's compiler, which takes two seconds.

    `splatfacto` compiles a function the moment it is imported, and every `ns-*` command imports it. From here on, what
    `torch_compile` decorates is compiled when it is first called.
    """
    from nerfstudio.utils import misc

    compile_now = misc.torch_compile
    if hasattr(compile_now, "__wrapped__"):
        return

    @functools.wraps(compile_now)
    def torch_compile(*arguments: Any, **options: Any) -> Any:
        if arguments:
            return compile_now(*arguments, **options)

        def decorated(function: Any) -> Any:
            compiled: Any = None

            @functools.wraps(function)
            def call(*values: Any, **named: Any) -> Any:
                nonlocal compiled
                compiled = compiled or compile_now(**options)(function)
                return compiled(*values, **named)

            return call

        return decorated

    misc.torch_compile = torch_compile


def spare_tensorboard() -> None:
    """Lets nerfstudio's modules be imported without TensorBoard, which takes a second and is only needed for training.

    nerfstudio's writer imports it together with everything else. A `SummaryWriter` is still TensorBoard's own.
    """
    place = "torch.utils.tensorboard"
    if place in sys.modules or "nerfstudio.utils.writer" in sys.modules:
        return

    class SummaryWriter:
        """Imports TensorBoard's class once an object of it is made."""

        def __new__(cls, *arguments: Any, **options: Any) -> Any:
            return importlib.import_module(place).SummaryWriter(*arguments, **options)

    stand_in = types.ModuleType(place)
    stand_in.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    sys.modules[place] = stand_in
    try:
        # This imports the writer. The other way around, each would find the other half imported.
        importlib.import_module("nerfstudio.configs.base_config")
    finally:
        del sys.modules[place]


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nerfstudio_avatars" / "bin"


def _owned(folder: Path) -> bool:
    """Whether only this user can write to the folder."""
    if os.name == "nt":
        return True
    status = folder.stat()
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _link(link: Path, binary: Path) -> None:
    if link.resolve() == binary.resolve() and link.exists():
        return
    with whole_file(link) as partial:
        try:
            partial.symlink_to(binary)
        except OSError:
            shutil.copy2(binary, partial)
