"""Trained runs: config.yml is read as plain text, and none of the objects it names is built."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from nerfstudio_avatars.avatars.run import PYTHON_TAG, foreign_tags
from nerfstudio_avatars.cli.inspection.report import Fact, Report, Unfamiliar
from nerfstudio_avatars.nerfstudio_glue.run_folder import checkpoints_in, step_of

CONFIG = "config.yml"
SUFFIXES = frozenset({".yml", ".yaml"})


class _Plain(yaml.SafeLoader):
    """Builds only dicts, lists and text, whatever the tags say."""


def _plain(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None


_Plain.add_multi_constructor(PYTHON_TAG, _plain)
_Plain.add_multi_constructor("!", _plain)


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
        text = config_path.read_text("utf8")
        foreign = foreign_tags(text)
        config = yaml.load(text, Loader=_Plain)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError, TypeError) as error:
        raise Unfamiliar(f"{CONFIG} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict) or "method_name" not in config or "pipeline" not in config:
        raise Unfamiliar("not a configuration that ns-train writes: no method_name and pipeline in it")
    folder = config_path.parent / _path(config.get("relative_model_dir", "nerfstudio_models"))
    checkpoints = checkpoints_in(folder) or checkpoints_in(_named_folder(config))
    facts = [
        Fact("method", config["method_name"]),
        Fact("experiment", config.get("experiment_name") or ""),
        Fact("timestamp", config.get("timestamp") or ""),
        Fact("data", _data(config)),
        Fact("steps asked for", config.get("max_num_iterations")),
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
            notes.append(f"no checkpoint in {folder}: opening it takes the one above, where its training wrote it")
    else:
        notes.append(f"no checkpoint (step-*.ckpt) in {folder}: not trained to a first checkpoint, or cleaned up")
    if foreign:
        notes.append(f"opening it would build objects from outside nerfstudio and this package: {', '.join(foreign)}")
    return Report(path, "run", tuple(facts), tuple(notes))


def _named_folder(config: dict[str, Any]) -> Path:
    """The folder that training wrote checkpoints to, as nerfstudio's `config.get_checkpoint_dir()` would return it."""
    names = ("output_dir", "experiment_name", "method_name", "timestamp", "relative_model_dir")
    return Path(*(_path(config.get(name) or "") for name in names))


def _data(config: dict[str, Any]) -> str:
    """The path of the data: that of the trainer, else of the datamanager, else of the dataparser."""
    manager = _inner(config["pipeline"], "datamanager")
    places = (config.get("data"), manager.get("data"), _inner(manager, "dataparser").get("data"))
    return next((_path(place) for place in places if place), "")


def _inner(value: Any, name: str) -> dict[str, Any]:
    """A part of a configuration, or an empty one."""
    part = value.get(name) if isinstance(value, dict) else None
    return part if isinstance(part, dict) else {}


def _path(value: Any) -> str:
    """A path, which is stored in YAML as a list of its parts."""
    return str(Path(*map(str, value))) if isinstance(value, list) else str(value)
