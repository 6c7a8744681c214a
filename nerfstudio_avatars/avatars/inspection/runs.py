"""Trained runs: config.yml is read as plain data, and none of the objects it names is built."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from nerfstudio_avatars.avatars.inspection.report import Fact, Report, Unfamiliar
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.nerfstudio_glue.checkpoints import checkpoints_in, step_of
from nerfstudio_avatars.nerfstudio_glue.config_file import read_config

CONFIG = "config.yml"
SUFFIXES = frozenset({".yml", ".yaml"})


def read_run(path: Path) -> Report:
    """Reads the configuration of a run, and looks for its checkpoints.

    Args:
        path: config.yml, or the folder that holds it.

    Raises:
        Unfamiliar: the file is not a nerfstudio configuration.
    """
    config_path = path / CONFIG if path.is_dir() else path
    if not config_path.is_file():
        below = next((run for depth in ("*", "*/*", "*/*/*") for run in path.glob(f"{depth}/{CONFIG}")), None)
        raise Unfamiliar(f"no {CONFIG} in it" + (f"; but there is {below}: name that one" if below else ""))
    try:
        config = read_config(config_path)
    except UserError as error:
        raise Unfamiliar(f"{CONFIG} cannot be opened: {error}") from error
    folder = config_path.parent / config.relative_model_dir
    checkpoints = checkpoints_in(folder) or checkpoints_in(config.get_checkpoint_dir())
    manager = config.pipeline.datamanager
    facts = [
        Fact("method", config.method_name),
        Fact("experiment", config.experiment_name or ""),
        Fact("timestamp", config.timestamp),
        Fact("data", str(config.data or manager.data or manager.dataparser.data or "")),
        Fact("steps asked for", config.max_num_iterations),
    ]
    notes = []
    if checkpoints:
        last = checkpoints[-1]
        written = datetime.fromtimestamp(last.stat().st_mtime).isoformat(" ", "seconds")
        facts += [
            Fact("steps done", step_of(last) + 1),
            Fact("checkpoint", str(last)),
            Fact("size", last.stat().st_size / 1e6, "MB"),
            Fact("date", written),
        ]
        if last.parent != folder:
            notes.append(f"no checkpoint in {folder}: the one above, where training wrote it, is used instead")
    else:
        notes.append(
            f"no checkpoint (step-*.ckpt) in {folder}: training ended before the first one, or they were deleted"
        )
    return Report(path, "run", tuple(facts), tuple(notes))
