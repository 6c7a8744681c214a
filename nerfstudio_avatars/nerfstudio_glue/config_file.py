"""Reading a run's `config.yml` as plain data.

nerfstudio writes the file with YAML tags that name classes and functions, and reads it with a loader that calls what
they name. Here nothing in the file is called or built: tags are only compared with the classes of which the
configurations of our methods consist, values with the types of their fields, and the configuration is then made from
those classes. What is a function there (`_target`) comes from the class, never from the file.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import math
import types
import typing
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import yaml

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.files import read_bytes
from nerfstudio_avatars.nerfstudio_glue.config_sizes import too_many, wrong_size

if TYPE_CHECKING:
    from nerfstudio_avatars.nerfstudio_glue.trainer import AvatarTrainerConfig

MOST_BYTES = 256 * 1024
"""Of the file; those of our methods have ten thousand."""
MOST_NODES = 20_000
"""Values, those that an alias repeats counted each time."""
MOST_LEVELS = 40
"""Of values within values."""
LONGEST_NUMBER = 40
"""Characters of a number; YAML has ways to write some that take minutes to read."""

_TRAINERS = frozenset({"AvatarTrainerConfig"})
_TAG = "tag:yaml.org,2002:"
_EXPECTED = "Expected the config.yml that ns-train wrote for one of this package's methods."
_NAMES_OF_FUNCTIONS = frozenset({"nerfstudio_collate", "variable_res_collate", "LocalWriter", "Adam"})
_PACKAGES = ("nerfstudio", "nerfstudio_avatars", "torch")
_FROM_THE_COMMAND_LINE = ("load_dir", "load_step", "load_checkpoint", "load_config")
"""Which earlier run a training went on from; of no meaning for whoever opens it."""
_WITHIN = ("experiment_name", "timestamp", "relative_model_dir")
"""What lies within the folder of all runs."""
_RETIRED: dict[str, Any] = {"compat": False}
"""Fields that there were once, with the value that says what is said by their absence today."""
_RENAMED = {
    "hard_alpha_weight": "hard_accumulation_weight",
    "eval_rays_per_chunk": "eval_num_rays_per_chunk",
    "render_rays": "eval_num_rays_per_chunk",
}
"""Fields under the names that they once had, with today's."""


def read_config(path: Path) -> AvatarTrainerConfig:
    """The configuration of a run, from its file.

    Fields that an older version did not write take their defaults. What earlier run it went on from is left out.

    Raises:
        UserError: if it is no such file, names anything but the classes and fields of our methods, or holds a value of
            another type; the message names the place.
    """
    text = read_bytes(path, "a run's config.yml", "give the config.yml that ns-train wrote", MOST_BYTES)
    try:
        return parse_config(text.decode("utf8"), str(path))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file. {_EXPECTED}") from error


def parse_config(text: str, source: str = "the configuration") -> AvatarTrainerConfig:
    """The same from the file's text.

    Args:
        text: YAML.
        source: its name, for messages.
    """
    try:
        return _Reader(source).read(_compose(text, source))
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise UserError(f"{source}: not a YAML file ({said:.200}). {_EXPECTED}") from error
    except RecursionError as error:
        raise UserError(f"{source}: values within values without end. {_EXPECTED}") from error


def read_node(node: yaml.Node, source: str) -> AvatarTrainerConfig:
    """The same from a node that YAML's loader has come upon."""
    return _Reader(source).read(node)


@dataclasses.dataclass(frozen=True)
class Outline:
    """What of a run's configuration is needed to show what was learnt."""

    method_name: str
    model: Any
    """The model's configuration."""
    data: Path | None
    output_dir: Path
    experiment_name: str | None
    timestamp: str
    relative_model_dir: Path


def read_outline(path: Path, models: tuple[type, ...]) -> Outline:
    """Parts of a run's configuration, from its file, without importing what only training needs (seconds).

    What is read passes the checks of `read_config`. Of the rest only the tags are looked at.

    Args:
        path: the file.
        models: the configurations that a model of ours may have.

    Raises:
        UserError: as `read_config`.
    """
    text = read_bytes(path, "a run's config.yml", "give the config.yml that ns-train wrote", MOST_BYTES)
    source = str(path)
    try:
        return _Reader(source, _classes_within([kind() for kind in models])).outline(
            _compose(text.decode("utf8"), source), models
        )
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file. {_EXPECTED}") from error
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise UserError(f"{source}: not a YAML file ({said:.200}). {_EXPECTED}") from error
    except RecursionError as error:
        raise UserError(f"{source}: values within values without end. {_EXPECTED}") from error


def _compose(text: str, source: str) -> yaml.Node:
    """The document as a graph of nodes; nothing is built."""
    level = 0
    for number, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        level += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if level > MOST_LEVELS or number > 2 * MOST_NODES:
            raise UserError(f"{source}: more values, or deeper ones, than a configuration has. {_EXPECTED}")
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if node is None:
        raise UserError(f"{source}: an empty file. {_EXPECTED}")
    return node


@functools.cache
def known_classes() -> dict[str, type]:
    """Every class that the configuration of one of our methods may consist of, by name."""
    from nerfstudio.configs.dataparser_configs import all_dataparsers

    return _classes_within([*our_methods().values(), *(one for one in all_dataparsers.values() if _is_ours(type(one)))])


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


def our_methods() -> dict[str, Any]:
    """Configurations of all registered methods that our trainer trains, by name."""
    from nerfstudio.configs.method_configs import all_methods

    from nerfstudio_avatars.nerfstudio_glue.trainer import AvatarTrainerConfig

    return {name: config for name, config in all_methods.items() if isinstance(config, AvatarTrainerConfig)}


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == __name__.partition(".")[0]


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _name(node: yaml.Node, kind: str) -> str | None:
    """What a tag of a kind names: `object`, `object/apply`, `name`; None where it is no such tag."""
    start = f"{_TAG}python/{kind}:"
    return node.tag.removeprefix(start) if node.tag.startswith(start) else None


class _Reader:
    """Makes a configuration from nodes.

    Args:
        source: the file's name, for messages.
        classes: those that it may consist of, by name; `known_classes` by default.
    """

    def __init__(self, source: str, classes: dict[str, type] | None = None) -> None:
        self._source, self._nodes, self._some_classes = source, 0, classes

    @property
    def _classes(self) -> dict[str, type]:
        return known_classes() if self._some_classes is None else self._some_classes

    def outline(self, node: yaml.Node, models: tuple[type, ...]) -> Outline:
        """See `read_outline`."""
        if not isinstance(node, yaml.MappingNode) or (_name(node, "object") or "").rpartition(".")[2] not in _TRAINERS:
            raise self._wrong("the file", node, "a configuration")
        self._check_tags(node)
        outer = dict(self._entries(node, ""))
        inner = dict(self._entries(self._part(outer, "pipeline"), "pipeline"))
        manager = dict(self._entries(self._part(inner, "datamanager"), "datamanager"))
        parser = dict(self._entries(self._part(manager, "dataparser"), "dataparser"))
        model = self._value(self._part(inner, "model"), typing.Union[models], "pipeline.model")  # noqa: UP007
        hints = {"method_name": str, "output_dir": Path, "timestamp": str, "relative_model_dir": Path}
        values = {name: self._value(self._part(outer, name), hint, name) for name, hint in hints.items()}
        names = {"experiment_name": (outer, str), "data": (manager, Path)}
        for name, (part, hint) in names.items():
            values[name] = self._value(part[name], hint | None, name) if name in part else None
        if values["data"] is None and "data" in parser:
            values["data"] = self._value(parser["data"], Path | None, "data")
        for name in (*_WITHIN, "method_name"):
            if values[name] is not None and not _stays_within(str(values[name])):
                raise UserError(
                    f"{self._source}: {name}: {str(values[name])!r:.80} leads out of the run's folder. {_EXPECTED}"
                )
        return Outline(model=model, **values)

    def _part(self, entries: dict[str, yaml.Node], name: str) -> Any:
        if name not in entries:
            raise UserError(f"{self._source}: no {name} in it. {_EXPECTED}")
        return entries[name]

    def _check_tags(self, node: yaml.Node) -> None:
        """Nothing is built, so nothing can happen; but a file that asks for foreign things is none of ours."""
        seen, waiting = set[int](), [node]
        while waiting:
            one = waiting.pop()
            if id(one) in seen:
                continue
            seen.add(id(one))
            named = next(
                (n for kind in ("object", "object/apply", "name") if (n := _name(one, kind)) is not None), None
            )
            plain = one.tag.removeprefix(_TAG)
            known = plain in ("map", "seq", "str", "int", "float", "bool", "null", "python/tuple")
            if not known and (named is None or named.partition(".")[0] not in (*_PACKAGES, "pathlib")):
                raise self._wrong("the file", one, "plain data, or a class of this package's configurations")
            if isinstance(one, yaml.CollectionNode):
                parts = (
                    [part for pair in one.value for part in pair] if isinstance(one, yaml.MappingNode) else one.value
                )
                waiting += parts

    def read(self, node: yaml.Node) -> AvatarTrainerConfig:
        """The whole configuration."""
        from nerfstudio_avatars.nerfstudio_glue.trainer import AvatarTrainerConfig

        if _name(node, "object") is None:
            raise self._wrong("the file", node, "a configuration")
        config = self._object(node, AvatarTrainerConfig, "")
        if config.method_name not in our_methods():
            known = ", ".join(sorted(our_methods()))
            raise UserError(f"{self._source}: method {config.method_name!r:.60} is none of this package's: {known}.")
        if not hasattr(config.pipeline.datamanager, "dataparser"):
            raise UserError(f"{self._source}: no pipeline in it, or a part of one: it is cut off. {_EXPECTED}")
        for name in _FROM_THE_COMMAND_LINE:
            setattr(config, name, None)
        inner = {name: getattr(config, name) for name in _WITHIN}
        inner["logging.relative_log_dir"] = config.logging.relative_log_dir
        inner["viewer.relative_log_filename"] = config.viewer.relative_log_filename
        for name, value in inner.items():
            if value is not None and not _stays_within(str(value)):
                raise UserError(
                    f"{self._source}: {name}: {str(value)!r:.80} leads out of the run's folder. {_EXPECTED}"
                )
        return config

    def _wrong(self, place: str, node: yaml.Node, expected: str) -> UserError:
        found = node.tag.removeprefix(_TAG).removeprefix("python/")
        if isinstance(node, yaml.ScalarNode) and node.tag.startswith(_TAG) and "/" not in found:
            found = repr(node.value)[:60]
        line = node.start_mark.line + 1
        return UserError(f"{self._source}: {place} (line {line}): {found} (not executed) instead of {expected}.")

    def _object(self, node: yaml.Node, base: Any, place: str) -> Any:
        """A dataclass's instance, of a class among `known_classes`."""
        full = _name(node, "object")
        kind: Any = self._classes.get((full or "").rpartition(".")[2])
        if full is None or not isinstance(node, yaml.MappingNode) or kind is None or not issubclass(kind, base):
            raise self._wrong(place or "the file", node, f"a {base.__name__}")
        if full.partition(".")[0] != kind.__module__.partition(".")[0]:
            raise self._wrong(place or "the file", node, f"{kind.__module__}.{kind.__name__}")
        fields = {one.name: one for one in dataclasses.fields(kind)}
        values: dict[str, Any] = {}
        for written, value in self._entries(node, place):
            inner = f"{place}.{written}".lstrip(".")
            key = written if written in fields else _RENAMED.get(written, written)
            if key in _RETIRED and key not in fields:
                if self._plain(value, inner) != _RETIRED[key]:
                    raise self._wrong(inner, value, f"{_RETIRED[key]!r}: the field is none any more")
            elif key not in fields:
                line = value.start_mark.line + 1
                raise UserError(f"{self._source}: {inner} (line {line}): a {kind.__name__} has no such field.")
            elif _is_function(_hints(kind)[key]):
                self._check_function(value, inner)
            elif fields[key].init:
                values[key] = self._value(value, _hints(kind)[key], inner)
        return kind(**values)

    def _entries(self, node: yaml.MappingNode, place: str) -> list[tuple[str, yaml.Node]]:
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != f"{_TAG}str":
                raise self._wrong(place or "the file", value, "a field's name before it")
        return [(key.value, value) for key, value in node.value]

    def _check_function(self, node: yaml.Node, place: str) -> None:
        """The file says which function it was; ours are taken in any case, but another one is told."""
        name = _name(node, "name") or ""
        targets = (_default(kind, "_target") for kind in self._classes.values())
        known = _NAMES_OF_FUNCTIONS | {one.__name__ for one in targets if isinstance(one, type)}
        if name.partition(".")[0] not in _PACKAGES or name.rpartition(".")[2] not in known:
            raise self._wrong(place, node, "a class of this package or of nerfstudio")

    def _value(self, node: yaml.Node, hint: Any, place: str) -> Any:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise UserError(f"{self._source}: more values than a configuration has. {_EXPECTED}")
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if hint is Any:
            return self._plain(node, place)
        if origin in (typing.Union, types.UnionType):
            return self._union(node, arguments, place)
        if origin is typing.Literal:
            value = self._plain(node, place)
            if not any(type(value) is type(one) and value == one for one in arguments):
                raise self._wrong(place, node, f"one of {', '.join(map(repr, arguments))}")
            return value
        if origin is tuple:
            return self._tuple(node, arguments, place)
        if origin is dict and isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            entries = self._entries(node, place)
            return {key: self._value(value, arguments[1], f"{place}.{key}") for key, value in entries}
        if origin is None and isinstance(hint, type):
            return self._of_class(node, hint, place)
        raise self._wrong(place, node, str(hint))

    def _of_class(self, node: yaml.Node, hint: type, place: str) -> Any:
        if dataclasses.is_dataclass(hint):
            return self._object(node, hint, place)
        if issubclass(hint, Path):
            return self._path(node, place)
        if issubclass(hint, enum.Enum):
            return self._member(node, hint, place)
        value = self._plain(node, place)
        if hint is float and type(value) is int:
            value = float(value)
        if hint not in (bool, int, float, str) or type(value) is not hint:
            raise self._wrong(place, node, f"a value of type {hint.__name__}")
        if isinstance(value, float) and not math.isfinite(value):
            raise self._wrong(place, node, "a finite number")
        expected = wrong_size(place, value) if isinstance(value, int | float) else None
        if expected is not None:
            raise self._wrong(place, node, expected)
        return value

    def _union(self, node: yaml.Node, choices: tuple[Any, ...], place: str) -> Any:
        if node.tag == f"{_TAG}null" and types.NoneType in choices:
            return None
        others = [one for one in choices if one is not types.NoneType]
        if _name(node, "object") is not None:
            kinds = tuple(one for one in others if dataclasses.is_dataclass(one))
            name = (_name(node, "object") or "").rpartition(".")[2]
            fitting = [one for one in kinds if isinstance(one, type) and one.__name__ == name]
            if not fitting or name not in self._classes:
                raise self._wrong(place, node, "a class that this package's configurations consist of")
            return self._object(node, fitting[0], place)
        for number, choice in enumerate(others):
            try:
                return self._value(node, choice, place)
            except UserError:
                if number == len(others) - 1:
                    raise
        raise self._wrong(place, node, "null")

    def _tuple(self, node: yaml.Node, arguments: tuple[Any, ...], place: str) -> tuple[Any, ...]:
        listed = isinstance(node, yaml.SequenceNode) and node.tag in (f"{_TAG}seq", f"{_TAG}python/tuple")
        any_length = len(arguments) == 2 and arguments[1] is Ellipsis
        if not listed or not (any_length or len(node.value) == len(arguments)):
            wanted = "a list" if any_length else f"{len(arguments)} values"
            raise self._wrong(place, node, wanted)
        expected = too_many(place, len(node.value))
        if expected is not None:
            raise self._wrong(place, node, expected)
        hints = [arguments[0]] * len(node.value) if any_length else arguments
        return tuple(self._value(one, hint, place) for one, hint in zip(node.value, hints, strict=True))

    def _path(self, node: yaml.Node, place: str) -> Path:
        """A path of this system, whichever it was written on."""
        kind = (_name(node, "object/apply") or "").removeprefix("pathlib.").removeprefix("_local.")
        pure = {"PosixPath": PurePosixPath, "WindowsPath": PureWindowsPath, "Path": PurePosixPath}.get(kind)
        if node.tag == f"{_TAG}str" and isinstance(node, yaml.ScalarNode):
            parts, pure = [node], PurePosixPath
        elif pure is None or not isinstance(node, yaml.SequenceNode):
            raise self._wrong(place, node, "a path")
        else:
            parts = node.value
        if not all(isinstance(part, yaml.ScalarNode) and part.tag == f"{_TAG}str" for part in parts):
            raise self._wrong(place, node, "a path of text")
        if any("\0" in part.value for part in parts) or sum(len(part.value) for part in parts) > 4096:
            raise self._wrong(place, node, "a path as systems have them")
        return Path(pure(*(part.value for part in parts)).as_posix())

    def _member(self, node: yaml.Node, hint: type[enum.Enum], place: str) -> enum.Enum:
        name = (_name(node, "object/apply") or "").rpartition(".")[2]
        if name == hint.__name__ and isinstance(node, yaml.SequenceNode) and len(node.value) == 1:
            value = self._plain(node.value[0], place)
            for one in hint:
                if one.value == value:
                    return one
        raise self._wrong(place, node, f"a {hint.__name__}")

    def _plain(self, node: yaml.Node, place: str) -> Any:
        """Text, numbers, truth, null; lists and dictionaries of them, and of known classes."""
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise UserError(f"{self._source}: more values than a configuration has. {_EXPECTED}")
        kind = node.tag.removeprefix(_TAG) if node.tag.startswith(_TAG) else node.tag
        if isinstance(node, yaml.ScalarNode) and kind in ("str", "int", "float", "bool", "null"):
            if kind in ("int", "float") and len(node.value) > LONGEST_NUMBER:
                raise self._wrong(place, node, "a number")
            try:
                return yaml.SafeLoader("").construct_object(node)
            except (ValueError, yaml.YAMLError, OverflowError, KeyError) as error:
                raise self._wrong(place, node, f"a value of type {kind}") from error
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return {key: self._plain(value, f"{place}.{key}") for key, value in self._entries(node, place)}
        if isinstance(node, yaml.SequenceNode) and kind in ("seq", "python/tuple"):
            return [self._plain(one, place) for one in node.value]
        if _name(node, "object") is not None:
            return self._object(node, object, place)
        raise self._wrong(place, node, "plain data, or a class of this package's configurations")


def _default(kind: type, name: str) -> Any:
    """The default of a dataclass's field."""
    for one in dataclasses.fields(kind):
        if one.name == name:
            return one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
    return None


def _is_function(hint: Any) -> bool:
    """Whether a field holds a class or a function."""
    return hint in (type, typing.Type) or typing.get_origin(hint) in (type, collections.abc.Callable)  # noqa: UP006


def _stays_within(path: str) -> bool:
    parts = PureWindowsPath(path).parts
    return not (".." in parts or PureWindowsPath(path).anchor or PurePosixPath(path).is_absolute() or "\0" in path)
