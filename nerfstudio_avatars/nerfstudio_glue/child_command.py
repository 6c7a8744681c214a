"""Commands in processes of their own, which end with the process that started them, and what they have said.

A command runs as `python -m nerfstudio_avatars.nerfstudio_glue.child_command MODULE ...`. Whoever starts it holds the
other end of its standard input. When that closes, because they were killed or want it, the command is asked to end, as
by SIGTERM: a training then writes a checkpoint.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast


def start(module: str, arguments: Sequence[str], **options: Any) -> subprocess.Popen:
    """Starts a module as a command that ends with this process. Ctrl-C in the terminal does not reach it.

    Args:
        module: run as by `python -m`.
        arguments: its command line.
        options: those of `subprocess.Popen`.
    """
    command = [sys.executable, "-m", "nerfstudio_avatars.nerfstudio_glue.child_command", module, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, **options)


def ask_to_end(process: subprocess.Popen) -> None:
    """Asks a command to end, once; afterwards there is nothing left of it but to wait."""
    cast("IO[bytes]", process.stdin).close()


def tail(path: Path, since: int = 0, lines: int = 12, most: int = 20_000) -> str:
    """The last lines of a file, or nothing if there is none.

    Args:
        path: the file.
        since: the position in bytes that they are after.
        lines: how many.
        most: number of bytes to look at.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - most, since))
            text = file.read().decode("utf8", "replace")
    except FileNotFoundError:
        return ""
    shown = [line.rstrip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return "\n".join(shown[-lines:])


def _end_with_starter() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_starter, daemon=True).start()
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
