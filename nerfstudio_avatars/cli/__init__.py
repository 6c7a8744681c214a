"""`ns-avatar <verb>`: what nerfstudio's own commands do not do."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> None:
    """Runs one verb. A user's mistake is told in one message, with exit code 2.

    Args:
        args: the command line without the program's name; None takes the process's own.
    """
    # Read by OpenMP when torch starts it, so before any import of torch: its idle threads otherwise spin, and take the
    # cores from numba's. Whoever set them keeps their choice.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")

    # nerfstudio 1.1.5 says this to every user for every camera; there is nothing they could do about it.
    warnings.filterwarnings("ignore", message="Using a non-tuple sequence for multidimensional indexing")

    from nerfstudio_avatars.cli.verbs import parse, user_errors

    try:
        parse(args).run()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # Whoever read our words has enough of them (`| head`); the rest has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
    except Exception as error:
        if isinstance(error, user_errors()):
            said = str(error)
        elif isinstance(error, OSError) and error.filename is not None:
            # A place that cannot be read or written. What the system says of no file keeps its traceback.
            said = f"{os.fsdecode(error.filename)}: {error.strerror or type(error).__name__}"
        else:
            raise
        print(f"ns-avatar: {said}", file=sys.stderr)
        sys.exit(2)
