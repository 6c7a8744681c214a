"""Reads a run's `config.yml` as plain data.

nerfstudio writes the file with YAML tags that name classes and functions, and reads it with a loader that calls what
they name. Here nothing in the file is called or built; `config_values.py` says how values are made.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.files import read_bytes
from nerfstudio_avatars.nerfstudio_glue.config_values import EXPECTED, ValueReader, compose, name_in_tag

if TYPE_CHECKING:
    from nerfstudio_avatars.nerfstudio_glue.trainer import AvatarTrainerConfig

MOST_BYTES = 256 * 1024
"""Largest file that is read; those of our methods have ten thousand bytes."""

_TRAINER = "AvatarTrainerConfig"
_FROM_THE_COMMAND_LINE = ("load_dir", "load_step", "load_checkpoint", "load_config")
"""Fields that say which earlier run the training continued; they mean nothing to whoever opens the run."""
_WITHIN = ("experiment_name", "timestamp", "relative_model_dir")
"""Fields that name something within the folder of all runs."""

_Made = TypeVar("_Made")


@dataclasses.dataclass(frozen=True)
class KnownMethods:
    """What a configuration may be of, and consist of."""

    configs: Mapping[str, Any]
    """Configurations of methods, by name."""
    classes: Mapping[str, type]
    """Every dataclass that their configurations may consist of, by name."""

    @classmethod
    def of(cls, methods: Iterable[Any], dataparsers: Iterable[Any]) -> KnownMethods:
        """Collects them from configurations of methods, and of the dataparsers that may replace the methods' own."""
        methods = list(methods)
        return cls({one.method_name: one for one in methods}, _classes_within([*methods, *dataparsers]))


@functools.cache
def registered_methods() -> KnownMethods:
    """All methods of our trainer that are registered with nerfstudio. Imports every method and dataparser there is."""
    from nerfstudio.configs.dataparser_configs import all_dataparsers
    from nerfstudio.configs.method_configs import all_methods

    from nerfstudio_avatars.nerfstudio_glue.trainer import AvatarTrainerConfig

    methods = (one for one in all_methods.values() if isinstance(one, AvatarTrainerConfig))
    return KnownMethods.of(methods, (one for one in all_dataparsers.values() if _is_ours(type(one))))


def read_trainer_config(path: Path, known: KnownMethods) -> AvatarTrainerConfig:
    """Reads the whole configuration of a run.

    Fields that an older version did not write take their defaults. Which earlier run it continued is left out.

    Args:
        path: the file.
        known: the methods that it may be of.

    Raises:
        UserError: if it is no such file, names anything but the classes and fields of these methods, or holds a value
            of another type; the message names the place.
    """
    return parse_trainer_config(_text_of(path), known, str(path))


def parse_trainer_config(text: str, known: KnownMethods, source: str = "the configuration") -> AvatarTrainerConfig:
    """Reads the same from text.

    Args:
        text: YAML.
        known: the methods that it may be of.
        source: its name, for messages.
    """
    return _made(text, source, lambda node, source: _config(node, source, known))


def read_node(node: yaml.Node, source: str) -> AvatarTrainerConfig:
    """Reads the same from a node that YAML's loader has come upon, for any registered method."""
    return _config(node, source, registered_methods())


@dataclasses.dataclass(frozen=True)
class Outline:
    """The parts of a run's configuration that it takes to show what was learnt."""

    method_name: str
    model: Any
    """The model's configuration."""
    data: Path | None
    output_dir: Path
    experiment_name: str | None
    timestamp: str
    relative_model_dir: Path


def read_outline(path: Path, models: tuple[type, ...]) -> Outline:
    """Reads the parts that it takes to show what was learnt, without importing what only training needs (seconds).

    These parts are checked as in `read_trainer_config`. Of the rest, only the tags are.

    Args:
        path: the file.
        models: classes that the model's configuration may be of.

    Raises:
        UserError: as in `read_trainer_config`.
    """
    return _made(_text_of(path), str(path), lambda node, source: _outline(node, source, models))


def _text_of(path: Path) -> str:
    content = read_bytes(path, "a run's config.yml", "give the config.yml that ns-train wrote", MOST_BYTES)
    try:
        return content.decode("utf8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file. {EXPECTED}") from error


def _made(text: str, source: str, make: Callable[[yaml.Node, str], _Made]) -> _Made:
    try:
        return make(compose(text, source), source)
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise UserError(f"{source}: not a YAML file ({said:.200}). {EXPECTED}") from error
    except RecursionError as error:
        raise UserError(f"{source}: values within values without end. {EXPECTED}") from error


def _config(node: yaml.Node, source: str, known: KnownMethods) -> AvatarTrainerConfig:
    from nerfstudio_avatars.nerfstudio_glue.trainer import AvatarTrainerConfig

    reader = ValueReader(source, known.classes)
    _check_trainer(node, reader)
    config = reader.instance(node, AvatarTrainerConfig, "")
    if config.method_name not in known.configs:
        told = ", ".join(sorted(known.configs))
        raise UserError(f"{source}: method {config.method_name!r:.60} is none of this package's: {told}.")
    if not hasattr(config.pipeline.datamanager, "dataparser"):
        raise UserError(f"{source}: no pipeline in it, or a part of one: it is cut off. {EXPECTED}")
    for name in _FROM_THE_COMMAND_LINE:
        setattr(config, name, None)
    within = {name: getattr(config, name) for name in _WITHIN}
    within["logging.relative_log_dir"] = config.logging.relative_log_dir
    within["viewer.relative_log_filename"] = config.viewer.relative_log_filename
    _check_within(within, source)
    return config


def _outline(node: yaml.Node, source: str, models: tuple[type, ...]) -> Outline:
    reader = ValueReader(source, _classes_within([kind() for kind in models]))
    outer = _check_trainer(node, reader)
    reader.check_tags(node)

    def part(entries: Mapping[str, Any], name: str) -> Any:
        if name not in entries:
            raise UserError(f"{source}: no {name} in it. {EXPECTED}")
        return entries[name]

    inner = reader.entries(part(outer, "pipeline"), "pipeline")
    manager = reader.entries(part(inner, "datamanager"), "datamanager")
    parser = reader.entries(part(manager, "dataparser"), "dataparser")
    hints = {"method_name": str, "output_dir": Path, "timestamp": str, "relative_model_dir": Path}
    values = {name: reader.value(part(outer, name), hint, name) for name, hint in hints.items()}
    optional = {"experiment_name": (outer, str), "data": (manager, Path)}
    for name, (entries, hint) in optional.items():
        values[name] = reader.value(entries[name], hint | None, name) if name in entries else None
    if values["data"] is None and "data" in parser:
        values["data"] = reader.value(parser["data"], Path | None, "data")
    _check_within({name: values[name] for name in (*_WITHIN, "method_name")}, source)
    model = reader.value(part(inner, "model"), typing.Union[models], "pipeline.model")  # noqa: UP007
    return Outline(model=model, **values)


def _check_trainer(node: yaml.Node, reader: ValueReader) -> dict[str, yaml.Node]:
    if (name_in_tag(node, "object") or "").rpartition(".")[2] != _TRAINER:
        raise reader.wrong("the file", node, "a configuration")
    return reader.entries(node, "")


def _check_within(values: Mapping[str, Any], source: str) -> None:
    for name, value in values.items():
        if value is not None and not _stays_within(str(value)):
            raise UserError(f"{source}: {name}: {str(value)!r:.80} leads out of the run's folder. {EXPECTED}")


def _stays_within(path: str) -> bool:
    parts = PureWindowsPath(path).parts
    return not (".." in parts or PureWindowsPath(path).anchor or PurePosixPath(path).is_absolute() or "\0" in path)


def _classes_within(values: list[Any]) -> dict[str, type]:
    """Every dataclass that configurations consist of, by name."""
    found: dict[str, type] = {}

    def walk(value: Any) -> None:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            found[type(value).__name__] = type(value)
            value = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
        if isinstance(value, dict):
            value = list(value.values())
        for one in value if isinstance(value, list | tuple) else ():
            walk(one)

    walk(values)
    return found


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == __name__.partition(".")[0]
