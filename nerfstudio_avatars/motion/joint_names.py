"""Finds SMPL's joints by the names that tools give them."""

from __future__ import annotations

import re
from collections import Counter

# A joint takes the first of its aliases that no joint above it has taken: `LeftShoulder` is the upper arm where nothing
# else is (Poser), the collar otherwise (CMU, Mixamo); `LeftFoot` is the ankle (CMU) unless there is one (SMPL).
_SIDED = {
    "hip": "upleg upperleg thigh thighbend femur hip",
    "knee": "knee lowerleg lowleg shin calf leg",
    "shoulder": "upperarm uparm arm shldr shldrbend humerus shoulder",
    "elbow": "elbow forearm forearmbend lowerarm lowarm",
    "ankle": "ankle foot",
    "foot": "toebase toes toe toe0 toe1 ball foot",
    "wrist": "wrist hand",
    "hand": "hand palm",
    "collar": "collar clavicle thorax shoulder innershoulder",
}
_MIDDLE = {"pelvis": "pelvis hips hip", "neck": "neck neck1 neck01 necklower", "head": "head"}
_SIDES = {"l": "left", "left": "left", "r": "right", "right": "right"}
_PREFIXES = set("mixamorig bip valvebiped valve biped j c def org character jnt joint bone model m f avg".split())


def match_joints(names: tuple[str, ...]) -> dict[str, int]:
    """Finds the node of each of SMPL's joints; joints that are not found are left out."""
    nodes: dict[tuple[str, str], int] = {}
    for node, key in enumerate(_keys(names)):
        if key[1]:
            nodes.setdefault(key, node)
    wanted = [("", joint, aliases) for joint, aliases in _MIDDLE.items()]
    wanted += [(side, joint, aliases) for side in ("left", "right") for joint, aliases in _SIDED.items()]
    joints: dict[str, int] = {}
    for side, joint, aliases in wanted:
        found = [alias for alias in aliases.split() if (side, alias) in nodes]
        if found:
            joints[f"{side}_{joint}" if side else joint] = nodes.pop((side, found[0]))
    return joints


def kinds_of(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """The side of each name, and the SMPL joint that it is an alias of; empty if the name tells neither."""
    joints = {alias: joint for joint, aliases in reversed(_SIDED.items()) for alias in aliases.split()}
    # Words that mean different joints in different tools tell nothing alone.
    joints |= dict.fromkeys(("shoulder", "leg", "foot", "hip", "arm"), "")
    return [(side, joints.get(key, "") if side else "") for side, key in _keys(names)]


def _keys(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Each name as its side and the rest of it, lower case, without namespaces, prefixes and separators."""
    words = [re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", re.split("[:|]", name)[-1]) for name in names]
    words = [[word.lower() for word in name] for name in words]
    prefixes = set(_PREFIXES)
    for place in (0, 1):  # what most names begin with is the character's name
        begins = Counter(name[place] for name in words if len(name) > place + 1)
        prefixes |= {word for word, count in begins.items() if 2 * count > len(words) > 5 and word not in _SIDES}
    limbs = {alias for aliases in _SIDED.values() for alias in aliases.split()}
    return [_key(name, prefixes, limbs) for name in words]


def _key(words: list[str], prefixes: set[str], limbs: set[str]) -> tuple[str, str]:
    start = 0
    while start < len(words) - 1 and (words[start] in prefixes or (start and words[start].isdigit())):
        start += 1
    words = words[start:]
    for end in (0, -1):
        if len(words) > 1 and words[end] in _SIDES:
            return _SIDES[words.pop(end)], "".join(words)
    text = "".join(words)
    for short, side in (("left", "left"), ("right", "right"), ("l", "left"), ("r", "right")):
        if text.startswith(short) and text[len(short) :] in limbs:
            return side, text[len(short) :]
    return "", text
