"""Finds SMPL's joints among the nodes of a skeleton by its shape alone.

The skeleton of a person has two pairs of equal limbs: legs at the pelvis, and arms at the chest above it. In each limb,
three joints in a row span two bones of about the same length. What comes before them (collar, twist bones) and after
them (fingers, toes) is short. Lengths do not depend on the pose, so any rest pose will do, even one in a heap.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

_MOST_PAIRS, _LONGEST_PATH = 60, 14
_MIRRORED = 1.3
"""Largest ratio of the lengths of the two limbs in a pair."""
_TOO_ODD = 40.0
"""Smallest cost of a skeleton that is not a person; those of people are below 12."""


@dataclass
class Shape:
    """The tree and the lengths of a skeleton, and hints that break ties."""

    named: list[bool]
    """Whether each node may be a joint."""
    parents: tuple[int, ...]
    positions: Float[np.ndarray, "nodes 3"]
    """Positions of the nodes in a rest pose."""
    frames: Float[np.ndarray, "frames nodes 3"]
    turning: list[bool]
    """Whether each node turns relative to its parent in the motion."""
    kinds: list[tuple[str, str]]
    """What the name of each node tells: its side and SMPL's joint without the side, each of which may be empty."""
    children: list[list[int]] = field(init=False)
    lengths: Float[np.ndarray, " nodes"] = field(init=False)
    reach: Float[np.ndarray, " nodes"] = field(init=False)
    """Length of the longest path down from each node."""

    def __post_init__(self) -> None:
        count = len(self.parents)
        self.children = [[] for _ in range(count)]
        self.lengths, self.reach = np.zeros(count), np.zeros(count)
        for node in reversed(range(count)):
            parent = self.parents[node]
            if parent >= 0:
                self.children[parent].insert(0, node)
                self.lengths[node] = np.linalg.norm(self.positions[node] - self.positions[parent])
                self.reach[parent] = max(self.reach[parent], self.lengths[node] + self.reach[node])

    def path(self, node: int) -> list[int]:
        """The longest path down from a node, joints only."""
        way = [node]
        while len(way) < _LONGEST_PATH:
            below = [child for child in self.children[way[-1]] if self.named[child]]
            if not below:
                break
            way.append(max(below, key=lambda child: self.lengths[child] + self.reach[child]))
        return way

    def above(self, node: int) -> list[int]:
        """The node and all nodes above it, upwards."""
        way = []
        while node >= 0:
            way.append(node)
            node = self.parents[node]
        return way


@dataclass(frozen=True)
class _Limbs:
    """A pair of limbs as legs or as arms: the node above them, and the places of three joints on both paths."""

    root: int
    paths: tuple[list[int], list[int]]
    places: tuple[int, int, int]
    size: float
    cost: float


def match_shape(shape: Shape) -> dict[str, int] | None:
    """The nodes of SMPL's joints, as far as they exist, or None if the skeleton is not that of a person."""
    pairs = _pairs(shape)
    best: tuple[float, _Limbs, _Limbs] | None = None
    legs = [fit for root, paths in pairs for fit in _fits(shape, root, paths, ("hip", "knee", "ankle"), 0.3)]
    arms = [fit for root, paths in pairs for fit in _fits(shape, root, paths, ("shoulder", "elbow", "wrist"), 0.45)]
    # The few best places of a leg are enough.
    for leg, arm in itertools.product(sorted(legs, key=_cost)[:60], sorted(arms, key=_cost)[:60]):
        above = shape.above(arm.root)
        if leg.root not in above or set(above) & {*leg.paths[0], *leg.paths[1]} or leg.paths[0][0] in arm.paths[0]:
            continue
        if set(leg.paths[0]) & {*arm.paths[0], *arm.paths[1]} or set(leg.paths[1]) & {*arm.paths[0], *arm.paths[1]}:
            continue
        trunk = sum(shape.lengths[node] for node in above[: above.index(leg.root)]) / leg.size
        cost = leg.cost + arm.cost + ((arm.size / leg.size - 0.65) / 0.12) ** 2 + ((trunk - 0.6) / 0.25) ** 2
        if best is None or cost < best[0]:
            best = cost, leg, arm
    if best is None or best[0] > _TOO_ODD:
        return None
    return _joints(shape, best[1], best[2])


def _cost(limbs: _Limbs) -> float:
    return limbs.cost


def _pairs(shape: Shape) -> list[tuple[int, tuple[list[int], list[int]]]]:
    """Siblings that could be two legs or two arms, with their paths."""
    found = []
    most = shape.reach.max(initial=0)
    for root, children in enumerate(shape.children):
        for a, b in itertools.combinations([child for child in children if shape.named[child]], 2):
            sizes = sorted(shape.lengths[node] + shape.reach[node] for node in (a, b))
            if sizes[0] > 0.2 * most and sizes[1] < _MIRRORED * sizes[0]:
                paths = shape.path(a), shape.path(b)
                if min(map(len, paths)) >= 3:
                    found.append((sizes[0], root, paths))
    found.sort(key=lambda one: -one[0])
    return [(root, paths) for _, root, paths in found[:_MOST_PAIRS]]


def _fits(
    shape: Shape, root: int, paths: tuple[list[int], list[int]], kinds: tuple[str, str, str], longest_tail: float
) -> list[_Limbs]:
    """All ways to choose three joints on a pair of paths."""
    # Nothing beyond the fingers is a wrist.
    fingers = [
        place
        for path in paths
        for place, node in enumerate(path)
        if place >= 2 and sum(shape.named[child] for child in shape.children[node]) >= 3
    ]
    end = min([len(paths[0]), len(paths[1]), *(place + 1 for place in fingers)])
    moving = any(shape.turning[node] for path in paths for node in path)
    fits = []
    for places in itertools.combinations(range(end), 3):
        cost, sizes = 0.0, []
        for path in paths:
            upper, lower, size = _spans(shape, path, places)
            if not size > 0:
                cost = np.inf
                break
            way = sum(shape.lengths[node] for node in path[places[0] + 1 : places[2] + 1])
            before = float(np.linalg.norm(shape.positions[path[places[0]]] - shape.positions[root])) / size
            behind = float(shape.reach[path[places[2]]]) / size
            cost += ((upper / size - 0.5) / 0.08) ** 2 / 2 + 30 * (way / size - 1)
            cost += (max(0.0, before - 0.45) / 0.2) ** 2 + (max(0.0, behind - longest_tail) / 0.15) ** 2
            cost += 0.4 * (places[2] - places[0] - 2)
            # Fingers and heels branch off there.
            cost -= 0.6 * (sum(shape.named[child] for child in shape.children[path[places[2]]]) > 1)
            for place, kind in zip(places, kinds, strict=True):
                told = shape.kinds[path[place]][1]
                cost += -1.0 if told == kind else 0.5 if told else 0.0
            cost += sum(0.7 for place in places[:2] if moving and not shape.turning[path[place]])
            sizes.append(size)
        first, second = (path[places[0]] for path in paths)
        apart = np.linalg.norm(shape.positions[first] - shape.positions[second])
        if np.isfinite(cost) and apart > 0.04 * sizes[0]:
            fits.append(_Limbs(root, paths, places, float(np.mean(sizes)), float(cost)))
    return fits


def _spans(shape: Shape, path: list[int], places: tuple[int, int, int]) -> tuple[float, float, float]:
    a, b, c = (shape.positions[path[place]] for place in places)
    upper, lower = float(np.linalg.norm(b - a)), float(np.linalg.norm(c - b))
    # If the rest pose is a heap, straight lines mean nothing, and the path along the bones counts.
    way = sum(shape.lengths[node] for node in path[places[0] + 1 : places[2] + 1])
    return upper, lower, upper + lower if way < 2 * (upper + lower) else 0.0


def _joints(shape: Shape, legs: _Limbs, arms: _Limbs) -> dict[str, int]:
    joints = {"pelvis": legs.root}
    left = _left(shape, legs, arms)
    for limbs, names in ((legs, ("hip", "knee", "ankle")), (arms, ("shoulder", "elbow", "wrist"))):
        first = _left_by_name(shape, limbs)
        first = left if first is None else first
        for path, side in zip(limbs.paths, ("left", "right") if first else ("right", "left"), strict=True):
            joints |= {f"{side}_{name}": path[place] for name, place in zip(names, limbs.places, strict=True)}
            if limbs is legs and len(path) > limbs.places[2] + 1:
                joints[f"{side}_foot"] = path[limbs.places[2] + 1]
            if limbs is arms and limbs.places[0] > 0:
                joints[f"{side}_collar"] = path[0]
    ends = [path[arms.places[2]] for path in arms.paths]
    hands = [[child for child in shape.children[end] if shape.named[child]] for end in ends]
    if all(len(below) == 1 and not any(shape.named[node] for node in shape.children[below[0]]) for below in hands):
        for end, below in zip(ends, hands, strict=True):
            side = next(name for name, node in joints.items() if node == end).split("_")[0]
            joints[f"{side}_hand"] = below[0]
    return joints | _head(shape, legs, arms)


def _head(shape: Shape, legs: _Limbs, arms: _Limbs) -> dict[str, int]:
    """Neck and head: the path up from the chest, to where a face branches off or nothing turns any more."""
    trunk = shape.above(arms.root)
    trunk = trunk[: trunk.index(legs.root) + 1]
    limbs = {arms.paths[0][0], arms.paths[1][0], legs.paths[0][0], legs.paths[1][0], *trunk}
    for node in trunk[:-1] or trunk:
        tops = [child for child in shape.children[node] if shape.named[child] and child not in limbs]
        if tops:
            break
    else:
        return {}
    up = shape.positions[arms.root] - shape.positions[legs.root]
    way = [max(tops, key=lambda top: (shape.positions[top] - shape.positions[node]) @ up + shape.reach[top])]
    while len(way) < _LONGEST_PATH:
        below = [child for child in shape.children[way[-1]] if shape.named[child]]
        if len(below) != 1:
            break
        way.append(below[0])
    while len(way) > 2 and any(map(shape.turning.__getitem__, way)) and not shape.turning[way[-1]]:
        way.pop()
    return {"neck": way[0], "head": way[-1]} if len(way) > 1 else {"head": way[0]}


def _left_by_name(shape: Shape, limbs: _Limbs) -> bool | None:
    """Whether the first path is the left one, by the names of its nodes; None if they do not tell."""
    sides = [{shape.kinds[node][0] for node in path} - {""} for path in limbs.paths]
    if sides == [{"left"}, {"right"}] or sides == [{"right"}, {"left"}]:
        return sides[0] == {"left"}
    return None


def _left(shape: Shape, legs: _Limbs, arms: _Limbs) -> bool:
    """Whether the first path of the legs is the left one, by where the toes point in the rest pose and all frames."""
    places = np.concatenate([shape.positions[None], shape.frames])
    hips = [places[:, path[legs.places[0]]] for path in legs.paths]
    shoulders = sum(places[:, path[arms.places[0]]] for path in arms.paths) / 2
    trunk = shoulders - sum(hips) / 2
    ahead = np.zeros_like(trunk)
    for path in legs.paths:
        ankle = path[legs.places[2]]
        below = path[legs.places[2] + 1] if len(path) > legs.places[2] + 1 else None
        tips = shape.children[ankle] if below is None else [below]
        for tip in tips:
            ahead += places[:, tip] - places[:, ankle]
    told = np.einsum("fi,fi->f", hips[0] - hips[1], np.cross(trunk, ahead))
    if abs(told).max() > 1e-9 * max(abs(places).max(), 1e-9) ** 3:
        return bool(np.median(np.sign(told)) > 0) if np.median(np.sign(told)) else bool(told.sum() > 0)
    # Without feet: people who face +z with y up, or -y with z up, have +x on their left.
    return bool((hips[0] - hips[1])[0, 0] > 0)
