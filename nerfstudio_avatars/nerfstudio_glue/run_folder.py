"""Finds the parts of a run: its config.yml, its checkpoints, its data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import no_type_check

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.nerfstudio_glue.checkpoints import checkpoints_in, last_whole


def find_config(path: Path) -> Path:
    """Finds the `config.yml` of a run.

    Args:
        path: the file, or the folder of the run.

    Raises:
        UserError: if there is none.
    """
    config = path / "config.yml" if path.is_dir() else path
    if not config.is_file():
        raise UserError(f"{config}: no such file. Expected the config.yml that ns-train writes into a run's folder.")
    return config


def last_checkpoint(config: Path, relative_model_dir: Path, named: Path) -> Path:
    """Finds the last checkpoint of a run beside its configuration, even if the folder was renamed or moved.

    Args:
        config: the config.yml of the run.
        relative_model_dir: the folder of checkpoints, relative to that of the configuration.
        named: the folder that the configuration names, which is only used if there are none beside it.

    Raises:
        UserError: if there is no checkpoint in either.
    """
    own = config.absolute().parent / relative_model_dir
    checkpoints = checkpoints_in(own)
    if not checkpoints:
        checkpoints = checkpoints_in(named)
        if not checkpoints:
            raise UserError(f"{own}: no checkpoint there. Expected step-*.ckpt; train the run to its end first.")
        print(f"There is no checkpoint beside {config}; using the one where its training wrote it: {checkpoints[-1]}")
    return last_whole(checkpoints).absolute()


def anchored(data: Path, config: Path, method: str, output_dir: Path) -> Path:
    """Finds data whose path was typed relative to the folder that the training was started in.

    Args:
        data: the path in the configuration.
        config: the config.yml of the run.
        method: the method of the run, after which the folder above is named.
        output_dir: the folder of all runs as it was typed, relative to the same folder.

    Returns:
        The path of the data now, or the same path if they are not found.
    """
    run = config.resolve().parent
    if data.exists() or data.is_absolute() or output_dir.is_absolute():
        return data
    if run.parent.name != method or len(run.parents) < 3:
        return data
    outputs = run.parents[2]
    # Both lead equally far up from the folder that the training was started in, and down from there.
    up = next((place for place, part in enumerate(output_dir.parts) if part != ".."), len(output_dir.parts))
    down = output_dir.parts[up:]
    if data.parts[:up] != output_dir.parts[:up] or outputs.parts[len(outputs.parts) - len(down) :] != down:
        return data
    found = Path(*outputs.parts[: len(outputs.parts) - len(down)], *data.parts[up:])
    return found if found.exists() else data


@no_type_check  # It inspects the caller of its caller, so no wrapper that checks types may come between.
def config_being_opened() -> Path | None:
    """The config.yml that nerfstudio's `eval_setup` is reading, if it is the caller of our caller.

    `ns-render`, `ns-viewer` and `ns-eval` are given that file, but do not pass its path on, and look for the
    checkpoint where the training once wrote it.
    """
    frame = sys._getframe(2)
    if frame.f_code.co_name != "eval_setup" or frame.f_globals.get("__name__") != "nerfstudio.utils.eval_utils":
        return None
    return Path(frame.f_locals["config_path"])
