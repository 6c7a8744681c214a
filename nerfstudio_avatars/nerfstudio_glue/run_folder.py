"""Where a run lies: its config.yml, its checkpoints, its data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import no_type_check

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.nerfstudio_glue.checkpoints import checkpoints_in, last_whole


def find_config(path: Path) -> Path:
    """The `config.yml` meant by a path to it or to the folder of a run.

    Raises:
        UserError: if there is none.
    """
    config = path / "config.yml" if path.is_dir() else path
    if not config.is_file():
        raise UserError(f"{config}: no such file. Expected the config.yml that ns-train writes into a run's folder.")
    return config


def last_checkpoint(config: Path, relative_model_dir: Path, named: Path) -> Path:
    """A run's last checkpoint: one beside its configuration, whatever its folder is called and wherever it was moved.

    Args:
        config: the run's config.yml.
        relative_model_dir: folder of checkpoints, from the configuration's.
        named: the folder that the configuration names, looked into only if there is none beside it.

    Raises:
        UserError: if there is none in either.
    """
    own = config.absolute().parent / relative_model_dir
    checkpoints = checkpoints_in(own)
    if not checkpoints:
        checkpoints = checkpoints_in(named)
        if not checkpoints:
            raise UserError(f"{own}: no checkpoint there. Expected step-*.ckpt; train the run to its end first.")
        print(f"No checkpoint beside {config}; taken from where its training wrote them: {checkpoints[-1]}")
    return last_whole(checkpoints).absolute()


def anchored(data: Path, config: Path, method: str, output_dir: Path) -> Path:
    """Finds data whose path was typed relative to the folder that the training was started in.

    Args:
        data: as the configuration has it.
        config: the run's config.yml.
        method: of the run, which names the folder above the run's.
        output_dir: the folder of all runs as it was typed; it too was relative to that folder.

    Returns:
        The data where they are now, or the path as it was, if they are not found.
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


@no_type_check  # It looks for the caller of its caller: no checks of types, as in tests, may stand between.
def config_being_opened() -> Path | None:
    """The config.yml that nerfstudio's `eval_setup` is reading, if that is who calls our caller.

    `ns-render`, `ns-viewer` and `ns-eval` know a run by that file alone, but tell nobody its path, and look for the
    checkpoint where the training once wrote it.
    """
    frame = sys._getframe(2)
    if frame.f_code.co_name != "eval_setup" or frame.f_globals.get("__name__") != "nerfstudio.utils.eval_utils":
        return None
    return Path(frame.f_locals["config_path"])
