"""nerfstudio's commands look at a finished run's config.yml before they open it."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.files import read_bytes
from nerfstudio_avatars.nerfstudio_glue.config_file import read_trainer_config, registered_methods


class _EvalUtils(types.ModuleType):
    """nerfstudio's module whose `eval_setup` opens every finished run; nothing else in it is changed."""

    @property
    def eval_setup(self) -> Callable[..., Any]:
        """nerfstudio's, behind a look at the configuration's file."""
        stock = vars(self)["eval_setup"]

        @functools.wraps(stock)
        def setup(config_path: Path, *arguments: Any, **options: Any) -> Any:
            check_configuration(Path(config_path))
            return stock(config_path, *arguments, **options)

        return setup


def check_configurations() -> None:
    """Lets nerfstudio look at a run's config.yml before it opens it.

    The plugin is imported while `eval_utils` is; the function that is to be changed is not there yet.
    """
    module = sys.modules.get("nerfstudio.utils.eval_utils")
    if module is not None:
        module.__class__ = _EvalUtils


def check_configuration(path: Path) -> None:
    """Refuses what would block nerfstudio's loader or end it without a word for users, and damaged runs of ours.

    Raises:
        UserError: it is no regular file, no configuration, or one of ours that cannot be used.
    """
    content = read_bytes(path, "a run's config.yml", "give the config.yml that ns-train wrote")
    if __name__.partition(".")[0].encode() in content:
        read_trainer_config(path, registered_methods())
    elif not content.lstrip().startswith(b"!!python/object:"):
        raise UserError(f"{path}: no configuration of a run. Give the config.yml that ns-train wrote.")
