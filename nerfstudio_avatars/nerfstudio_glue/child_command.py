"""Runs one of nerfstudio's scripts as a child: `python -m nerfstudio_avatars.nerfstudio_glue.child_command SCRIPT ...`.

Whoever starts it holds the other end of its standard input. When that closes, because they were killed, the script is
asked to end, as by SIGTERM: a training then writes a checkpoint.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    runpy.run_module(f"nerfstudio.scripts.{sys.argv.pop(1)}", run_name="__main__", alter_sys=True)
