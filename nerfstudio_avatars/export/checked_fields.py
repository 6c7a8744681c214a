"""Dataclasses of options as JSON and back: every value is compared with its field's type and with limits."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any

Limits = Mapping[str, tuple[float, float]]
"""Smallest and largest value of fields, by name."""

_MOST = 1e9


def as_plain(options: Any, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The fields of a dataclass as JSON knows them.

    Args:
        options: a dataclass of numbers, text, truth, tuples and such dataclasses.
        without: fields of the outer one that are left out.
    """
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        if field.name not in without:
            value = getattr(options, field.name)
            plain[field.name] = as_plain(value) if dataclasses.is_dataclass(value) else value
    return plain


def from_plain(
    kind: type, plain: Any, limits: Limits, without: frozenset[str] = frozenset(), place: str = "options"
) -> Any:
    """A dataclass from what `as_plain` gave. Fields that are missing keep their defaults.

    Args:
        kind: the dataclass.
        plain: parsed JSON.
        limits: for numbers, by the field's name; others are at most a billion.
        without: fields of the outer one that may not occur.
        place: where that is, for messages.

    Raises:
        ValueError: a field that there is not, or a value of another type or beyond the limits; the message names it.
    """
    if not isinstance(plain, dict):
        raise ValueError(f"{place} that are no object")
    hints = _hints(kind)
    known = {field.name for field in dataclasses.fields(kind)} - without
    values = {}
    for name, value in plain.items():
        if name not in known:
            raise ValueError(f"{place}: no field {name!r:.60} is known")
        values[name] = _value(hints[name], value, limits, name, f"{place}.{name}")
    return kind(**values)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _value(hint: Any, value: Any, limits: Limits, name: str, place: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_plain(hint, value, limits, place=place)
    if origin is typing.Literal:
        if value not in arguments or isinstance(value, bool):
            raise ValueError(f"{place} = {value!r:.60}, expected one of {arguments}")
        return value
    if origin in (typing.Union, types.UnionType):
        inner = [one for one in arguments if one is not type(None)]
        return None if value is None and len(inner) < len(arguments) else _value(inner[0], value, limits, name, place)
    if origin is tuple:
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis and isinstance(value, list) else arguments
        if not isinstance(value, list) or len(value) != len(kinds) or len(value) > 100:
            raise ValueError(f"{place} = {value!r:.60}, expected a list of {len(arguments)}")
        pairs = zip(kinds, value, strict=True)
        return tuple(_value(one, part, limits, name, f"{place}[{number}]") for number, (one, part) in enumerate(pairs))
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:
        raise ValueError(f"{place} = {value!r:.60}, expected a value of type {getattr(hint, '__name__', hint)}")
    low, high = limits.get(name, (-_MOST, _MOST))
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(f"{place} = {value!r:.40}, expected {low:g} to {high:g}")
    return value
