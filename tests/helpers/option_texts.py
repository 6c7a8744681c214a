"""What `--help` says of the options that this package defines, and what makes a text a torso there."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import docstring_parser

PACKAGE = "nerfstudio_avatars"

FRAGMENTS = re.compile(r"(Of|For|In|At|By|As|From|To|With|On|The same|How many|Which|Who|Whom|Where|What)\b")
"""First words of a text that only means something after the line above it."""

VERBS = frozenset(
    "is are was were be has have had can may must need needs do does takes take uses use shows show chooses makes make "
    "gives give reads writes write holds hold begins ends lies comes goes falls rises keeps leaves turns follows sets "
    "says stands means works adds counts learns train trains trained shown drawn given taken found seen held known "
    "written chosen kept left made set cut grown spent split spread fallen risen begun".split()
)
"""Common verbs whose form does not show that they are verbs."""

VERB_ENDING = re.compile(r"[a-z]{2,}(ed|ing)")
NOUNS = frozenset("speed seed training rendering setting skinning warning red need bed string spacing".split())
"""Words with the ending of a verb that are none in this package's texts."""

RELATIVE = re.compile(r"\b(which|that|who|it) [a-z]+s\b")
INFINITIVE = re.compile(r"\bto (?!the\b|a\b|an\b|its\b|their\b|each\b|[0-9])[a-z]+")


def options(cls: type) -> dict[str, str | None]:
    """Names of the options that this package adds to a class, with their help texts; None for one without a text.

    An option that a class of nerfstudio declares, too, is nerfstudio's.
    """
    return {
        field.name: _text(cls, field.name)
        for field in dataclasses.fields(cls)
        if field.init and not field.name.startswith("_") and _first_declared(cls, field.name).startswith(PACKAGE)
    }


def configurations(value: Any) -> Iterator[type]:
    """The classes of all dataclasses in a tree of configurations."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield type(value)
        for field in dataclasses.fields(value):
            yield from configurations(getattr(value, field.name))
    elif isinstance(value, dict):
        yield from configurations(tuple(value.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from configurations(item)


def faults(text: str | None) -> list[str]:
    """Why a help text is no whole English sentence; empty if it is one."""
    if not text:
        return ["has no docstring"]
    found = []
    words = re.findall(r"[\w'-]+", text)
    if not re.match(r"[A-Z`]", text):
        found.append("does not start with a capital letter or a quoted value")
    if not all(line.endswith((".", ".)")) for line in text.splitlines() if line):
        # tyro breaks the text where its lines break: elsewhere than after a full stop it looks torn.
        found.append("does not end each of its lines with a full stop")
    if len(words) < 4:
        found.append("has fewer than four words")
    if FRAGMENTS.match(text):
        found.append(f"begins like a fragment ({words[0]})")
    if not _has_verb(text):
        found.append("has no verb")
    return found


def _has_verb(text: str) -> bool:
    plain = re.sub(r"`[^`]*`|--[\w-]+", "", text)
    words = re.findall(r"[A-Za-z]+", plain)
    return bool(INFINITIVE.search(plain) or RELATIVE.search(plain)) or any(
        word in VERBS or (VERB_ENDING.fullmatch(word) and word not in NOUNS) for word in map(str.lower, words)
    )


def _first_declared(cls: type, name: str) -> str:
    """The module of the class that is highest in the hierarchy of those which declare a field."""
    return [base.__module__ for base in cls.__mro__ if name in vars(base).get("__annotations__", {})][-1]


def _text(cls: type, name: str) -> str | None:
    for base in cls.__mro__[:-1]:
        texts = {text.arg_name: text.description for text in docstring_parser.parse_from_object(base).params}
        if texts.get(name):
            return "\n".join(line.strip() for line in texts[name].strip().splitlines())
    return None
