"""Standard streams that are closed, full, or lack letters: `>&-`, `| head -1`, `> /dev/full`, `LC_ALL=C`."""

from __future__ import annotations

import io
import os
import sys


def settle_streams() -> None:
    """Makes standard streams take whatever is printed.

    Closed ones lead nowhere: files opened later would take their numbers, and get their text. Letters that an encoding
    lacks, and bytes of a path that are no letters, are printed as escapes.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            if getattr(sys, name) is None:
                setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf8", closefd=False))
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper) and (out.errors == "strict" or out.encoding.lower() not in ("utf-8", "utf8")):
        out.reconfigure(errors="backslashreplace")


def lost_output(error: BaseException | None = None) -> OSError | None:
    """What keeps standard output from taking more, with its name; None if nothing does.

    What waited to be written is dropped then, as is all that is printed later.

    Args:
        error: one that may have come of it. As it may have left nothing to be written, an empty line is tried.
    """
    try:
        if isinstance(error, OSError) and error.filename is None:
            sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError as found:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return OSError(found.errno, os.strerror(found.errno or 0), "standard output")
    return None
