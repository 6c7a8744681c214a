"""`ns-avatar <verb>`: what nerfstudio's own commands do not do."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_CLOSED_BY_READER = 141
"""The exit code of programs that end because nobody reads on, as in `| head -1`."""


def main(args: Sequence[str] | None = None) -> None:
    """Runs one verb. A user's mistake is reported in one message on stderr, with exit code 2.

    Args:
        args: the command line without the program's name; None takes the process's own.
    """
    # Read by OpenMP when torch starts it, so before any import of torch: its idle threads otherwise spin, and take the
    # cores from numba's. Values set by the user are kept.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")

    from nerfstudio_avatars.nerfstudio_glue.known_warnings import quieten
    from nerfstudio_avatars.standard_streams import lost_output, settle_streams

    settle_streams()
    quieten()

    from nerfstudio_avatars.cli.verbs import parse
    from nerfstudio_avatars.errors import UserError

    try:
        try:
            parse(args).run()
        except (SystemExit, OSError) as error:
            # What was printed last may be on its way only now.
            raise lost_output(error) or error from None
        lost = lost_output()
        if lost is not None:
            raise lost
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(_CLOSED_BY_READER)
    except Exception as error:
        lost_output()
        if isinstance(error, UserError):
            message = str(error)
        elif isinstance(error, OSError) and error.filename is not None:
            # A file that cannot be read or written. A system error that concerns no file keeps its traceback.
            message = f"{os.fsdecode(error.filename)}: {error.strerror or type(error).__name__}"
        else:
            raise
        print(f"ns-avatar: {message}", file=sys.stderr)
        sys.exit(2)
