"""The values in a `config.yml`: made from YAML nodes by the types of the fields that they belong to.

Nothing that the file names is called or built. Its tags are compared with the classes that a reader is given, and its
values with the types of those classes' fields; objects are then made from those classes. A field that holds a function
(`_target`) takes it from the class, never from the file.
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
from typing import Any

import yaml

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.nerfstudio_glue.config_sizes import too_many, wrong_size

_MOST_NODES = 20_000
"""Values that a file may hold, those that an alias repeats counted each time."""
_MOST_LEVELS = 40
"""Levels of values within values."""
_LONGEST_NUMBER = 40
"""Largest number of characters of a number; YAML has ways to write some that take minutes to read."""
EXPECTED = "Expected the config.yml that ns-train wrote for one of this package's methods."

_TAG = "tag:yaml.org,2002:"
_PLAIN = ("map", "seq", "str", "int", "float", "bool", "null", "python/tuple")
"""Tags of plain data."""
_NAMES_OF_FUNCTIONS = frozenset({"nerfstudio_collate", "variable_res_collate", "LocalWriter", "Adam"})
_PACKAGES = ("nerfstudio", "nerfstudio_avatars", "torch")
_RETIRED: dict[str, Any] = {"compat": False}
"""Fields that no longer exist, with the value that their absence stands for today."""
_RENAMED = {
    "hard_alpha_weight": "hard_accumulation_weight",
    "eval_rays_per_chunk": "eval_num_rays_per_chunk",
    "render_rays": "eval_num_rays_per_chunk",
}
"""Former names of fields, with today's."""


def compose(text: str, source: str) -> yaml.Node:
    """The document as a graph of nodes; nothing is built."""
    level = 0
    for number, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        level += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if level > _MOST_LEVELS or number > 2 * _MOST_NODES:
            raise UserError(f"{source}: more values, or deeper ones, than a configuration has. {EXPECTED}")
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if node is None:
        raise UserError(f"{source}: an empty file. {EXPECTED}")
    return node


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def name_in_tag(node: yaml.Node, kind: str) -> str | None:
    """What a tag of a kind names: `object`, `object/apply`, `name`; None where it is no such tag."""
    start = f"{_TAG}python/{kind}:"
    return node.tag.removeprefix(start) if node.tag.startswith(start) else None


class ValueReader:
    """Makes values from nodes.

    Args:
        source: the file's name, for messages.
        classes: the dataclasses that the file may consist of, by name.
    """

    def __init__(self, source: str, classes: collections.abc.Mapping[str, type]) -> None:
        self._source, self._classes, self._nodes = source, classes, 0

    def check_tags(self, node: yaml.Node) -> None:
        """Checks the tags of a node and of all within it, whose values nobody wants.

        Raises:
            UserError: if a tag names anything outside nerfstudio, torch, paths and this package.
        """
        seen, waiting = set[int](), [node]
        while waiting:
            one = waiting.pop()
            if id(one) in seen:
                continue
            seen.add(id(one))
            names = [name_in_tag(one, kind) or "" for kind in ("object", "object/apply", "name")]
            package = max(names).partition(".")[0]
            if one.tag.removeprefix(_TAG) not in _PLAIN and package not in (*_PACKAGES, "pathlib"):
                raise self.wrong("the file", one, "plain data, or a class of this package's configurations")
            if isinstance(one, yaml.MappingNode):
                waiting += [part for pair in one.value for part in pair]
            elif isinstance(one, yaml.SequenceNode):
                waiting += one.value

    def wrong(self, place: str, node: yaml.Node, expected: str) -> UserError:
        """An error that tells what was found at a place, on which line, and what was expected there."""
        found = node.tag.removeprefix(_TAG).removeprefix("python/")
        if isinstance(node, yaml.ScalarNode) and node.tag.startswith(_TAG) and "/" not in found:
            found = repr(node.value)[:60]
        line = node.start_mark.line + 1
        return UserError(f"{self._source}: {place} (line {line}): {found} (not executed) instead of {expected}.")

    def instance(self, node: yaml.Node, base: Any, place: str) -> Any:
        """Makes an object of one of the reader's classes.

        Args:
            node: from the file.
            base: the class that the object must be of, or of a subclass.
            place: the field's name, with those around it, for messages.

        Raises:
            UserError: if the node names another class, or fields that the class does not have, or values of other
                types.
        """
        full = name_in_tag(node, "object")
        kind: Any = self._classes.get((full or "").rpartition(".")[2])
        if full is None or not isinstance(node, yaml.MappingNode) or kind is None or not issubclass(kind, base):
            raise self.wrong(place or "the file", node, f"a {base.__name__}")
        if full.partition(".")[0] != kind.__module__.partition(".")[0]:
            raise self.wrong(place or "the file", node, f"{kind.__module__}.{kind.__name__}")
        fields = {one.name: one for one in dataclasses.fields(kind)}
        values: dict[str, Any] = {}
        for written, value in self.entries(node, place).items():
            inner = f"{place}.{written}".lstrip(".")
            key = written if written in fields else _RENAMED.get(written, written)
            if key in _RETIRED and key not in fields:
                if self._plain(value, inner) != _RETIRED[key]:
                    raise self.wrong(inner, value, f"{_RETIRED[key]!r}: the field no longer exists")
            elif key not in fields:
                line = value.start_mark.line + 1
                raise UserError(f"{self._source}: {inner} (line {line}): a {kind.__name__} has no such field.")
            elif _is_function(_hints(kind)[key]):
                self._check_function(value, inner)
            elif fields[key].init:
                values[key] = self.value(value, _hints(kind)[key], inner)
        return kind(**values)

    def entries(self, node: yaml.Node, place: str) -> dict[str, yaml.Node]:
        """The names and values of a mapping.

        Raises:
            UserError: if it is no mapping, or a name is not text.
        """
        if not isinstance(node, yaml.MappingNode):
            raise self.wrong(place or "the file", node, "fields with their names")
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != f"{_TAG}str":
                raise self.wrong(place or "the file", value, "a field's name before it")
        return {key.value: value for key, value in node.value}

    def _check_function(self, node: yaml.Node, place: str) -> None:
        """Checks the function that the file names, although the class's own is taken in any case."""
        name = name_in_tag(node, "name") or ""
        targets = (_default(kind, "_target") for kind in self._classes.values())
        known = _NAMES_OF_FUNCTIONS | {one.__name__ for one in targets if isinstance(one, type)}
        if name.partition(".")[0] not in _PACKAGES or name.rpartition(".")[2] not in known:
            raise self.wrong(place, node, "a class of this package or of nerfstudio")

    def value(self, node: yaml.Node, hint: Any, place: str) -> Any:
        """Makes a value of the type that a field is annotated with.

        Raises:
            UserError: if the node holds another type, or the file more than `_MOST_NODES` values.
        """
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise UserError(f"{self._source}: more values than a configuration has. {EXPECTED}")
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if hint is Any:
            return self._plain(node, place)
        if origin in (typing.Union, types.UnionType):
            return self._union(node, arguments, place)
        if origin is typing.Literal:
            value = self._plain(node, place)
            if not any(type(value) is type(one) and value == one for one in arguments):
                raise self.wrong(place, node, f"one of {', '.join(map(repr, arguments))}")
            return value
        if origin is tuple:
            return self._tuple(node, arguments, place)
        if origin is dict and isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            entries = self.entries(node, place).items()
            return {key: self.value(value, arguments[1], f"{place}.{key}") for key, value in entries}
        if origin is None and isinstance(hint, type):
            return self._of_class(node, hint, place)
        raise self.wrong(place, node, str(hint))

    def _of_class(self, node: yaml.Node, hint: type, place: str) -> Any:
        if dataclasses.is_dataclass(hint):
            return self.instance(node, hint, place)
        if issubclass(hint, Path):
            return self._path(node, place)
        if issubclass(hint, enum.Enum):
            return self._member(node, hint, place)
        value = self._plain(node, place)
        if hint is float and type(value) is int:
            value = float(value)
        if hint not in (bool, int, float, str) or type(value) is not hint:
            raise self.wrong(place, node, f"a value of type {hint.__name__}")
        if isinstance(value, float) and not math.isfinite(value):
            raise self.wrong(place, node, "a finite number")
        expected = wrong_size(place, value) if isinstance(value, int | float) else None
        if expected is not None:
            raise self.wrong(place, node, expected)
        return value

    def _union(self, node: yaml.Node, choices: tuple[Any, ...], place: str) -> Any:
        if node.tag == f"{_TAG}null" and types.NoneType in choices:
            return None
        others = [one for one in choices if one is not types.NoneType]
        if name_in_tag(node, "object") is not None:
            kinds = tuple(one for one in others if dataclasses.is_dataclass(one))
            name = (name_in_tag(node, "object") or "").rpartition(".")[2]
            fitting = [one for one in kinds if isinstance(one, type) and one.__name__ == name]
            if not fitting or name not in self._classes:
                raise self.wrong(place, node, "a class that this package's configurations consist of")
            return self.instance(node, fitting[0], place)
        for number, choice in enumerate(others):
            try:
                return self.value(node, choice, place)
            except UserError:
                if number == len(others) - 1:
                    raise
        raise self.wrong(place, node, "null")

    def _tuple(self, node: yaml.Node, arguments: tuple[Any, ...], place: str) -> tuple[Any, ...]:
        listed = isinstance(node, yaml.SequenceNode) and node.tag in (f"{_TAG}seq", f"{_TAG}python/tuple")
        any_length = len(arguments) == 2 and arguments[1] is Ellipsis
        if not listed or not (any_length or len(node.value) == len(arguments)):
            wanted = "a list" if any_length else f"{len(arguments)} values"
            raise self.wrong(place, node, wanted)
        expected = too_many(place, len(node.value))
        if expected is not None:
            raise self.wrong(place, node, expected)
        hints = [arguments[0]] * len(node.value) if any_length else arguments
        return tuple(self.value(one, hint, place) for one, hint in zip(node.value, hints, strict=True))

    def _path(self, node: yaml.Node, place: str) -> Path:
        """A path of this system, whichever system it was written on."""
        kind = (name_in_tag(node, "object/apply") or "").removeprefix("pathlib.").removeprefix("_local.")
        pure = {"PosixPath": PurePosixPath, "WindowsPath": PureWindowsPath, "Path": PurePosixPath}.get(kind)
        if node.tag == f"{_TAG}str" and isinstance(node, yaml.ScalarNode):
            parts, pure = [node], PurePosixPath
        elif pure is None or not isinstance(node, yaml.SequenceNode):
            raise self.wrong(place, node, "a path")
        else:
            parts = node.value
        if not all(isinstance(part, yaml.ScalarNode) and part.tag == f"{_TAG}str" for part in parts):
            raise self.wrong(place, node, "a path of text")
        if any("\0" in part.value for part in parts) or sum(len(part.value) for part in parts) > 4096:
            raise self.wrong(place, node, "a path as systems have them")
        return Path(pure(*(part.value for part in parts)).as_posix())

    def _member(self, node: yaml.Node, hint: type[enum.Enum], place: str) -> enum.Enum:
        name = (name_in_tag(node, "object/apply") or "").rpartition(".")[2]
        if name == hint.__name__ and isinstance(node, yaml.SequenceNode) and len(node.value) == 1:
            value = self._plain(node.value[0], place)
            for one in hint:
                if one.value == value:
                    return one
        raise self.wrong(place, node, f"a {hint.__name__}")

    def _plain(self, node: yaml.Node, place: str) -> Any:
        """Text, numbers, truth, null; lists and dictionaries of them, and of known classes."""
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise UserError(f"{self._source}: more values than a configuration has. {EXPECTED}")
        kind = node.tag.removeprefix(_TAG) if node.tag.startswith(_TAG) else node.tag
        if isinstance(node, yaml.ScalarNode) and kind in ("str", "int", "float", "bool", "null"):
            if kind in ("int", "float") and len(node.value) > _LONGEST_NUMBER:
                raise self.wrong(place, node, "a number")
            try:
                return yaml.SafeLoader("").construct_object(node)
            except (ValueError, yaml.YAMLError, OverflowError, KeyError) as error:
                raise self.wrong(place, node, f"a value of type {kind}") from error
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return {key: self._plain(value, f"{place}.{key}") for key, value in self.entries(node, place).items()}
        if isinstance(node, yaml.SequenceNode) and kind in ("seq", "python/tuple"):
            return [self._plain(one, place) for one in node.value]
        if name_in_tag(node, "object") is not None:
            return self.instance(node, object, place)
        raise self.wrong(place, node, "plain data, or a class of this package's configurations")


def _default(kind: type, name: str) -> Any:
    """The default of a dataclass's field."""
    for one in dataclasses.fields(kind):
        if one.name == name:
            return one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
    return None


def _is_function(hint: Any) -> bool:
    """Whether a field holds a class or a function."""
    return hint in (type, typing.Type) or typing.get_origin(hint) in (type, collections.abc.Callable)  # noqa: UP006
