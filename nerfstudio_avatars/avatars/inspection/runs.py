"""Trained runs: config.yml is read as plain data, and none of the objects it names is built."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from nerfstudio_avatars.avatars.inspection.report import Fact, Report, Unfamiliar
from nerfstudio_avatars.avatars.run import our_methods
from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.nerfstudio_glue.checkpoints import check_archive, checkpoints_in, step_of
from nerfstudio_avatars.nerfstudio_glue.config_file import read_trainer_config

_CONFIG = "config.yml"
SUFFIXES = frozenset({".yml", ".yaml"})


def read_run(path: Path) -> Report:
    """Reads the configuration of a run, and looks for its checkpoints.

    Args:
        path: config.yml, or the folder that holds it.

    Raises:
        Unfamiliar: the file is not a nerfstudio configuration.
        DataError: none of its checkpoints can be read.
    """
    config_path = path / _CONFIG if path.is_dir() else path
    if not config_path.is_file():
        raise Unfamiliar(f"no {_CONFIG} in it")
    try:
        config = read_trainer_config(config_path, our_methods())
    except UserError as error:
        raise DataError(
            config_path, str(error), "the run of one of this package's methods", "train it again"
        ) from error
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
        last, damaged = _last_whole(checkpoints)
        notes += [f"{name} is damaged: the checkpoint before it is used" for name in damaged]
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


def run_below(folder: Path) -> Path | None:
    """A run's configuration some folders further down, for whoever named the folder of all runs."""
    return next((run for depth in ("*", "*/*", "*/*/*") for run in folder.glob(f"{depth}/{_CONFIG}")), None)


def _last_whole(checkpoints: list[Path]) -> tuple[Path, list[str]]:
    """The last checkpoint that can be read, and the names of those after it."""
    damaged: list[str] = []
    for path in reversed(checkpoints):
        try:
            check_archive(path)
        except DataError:
            if path == checkpoints[0]:
                raise
            damaged.append(path.name)
        else:
            return path, damaged
    raise ValueError("no checkpoints")
