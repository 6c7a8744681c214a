"""A pose made by hand: joints turned one by one, mirrored, copied from side to side, undone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES, BodyState
from nerfstudio_avatars.bodies.rotations import compose_axis_angle
from nerfstudio_avatars.motion.staging import upright_facing

LIMBS: dict[str, tuple[str, ...]] = {
    "Whole body": ("pelvis",),
    "Trunk": ("spine1", "spine2", "spine3"),
    "Head": ("neck", "head"),
    "Left arm": ("left_collar", "left_shoulder", "left_elbow", "left_wrist", "left_hand"),
    "Right arm": ("right_collar", "right_shoulder", "right_elbow", "right_wrist", "right_hand"),
    "Left leg": ("left_hip", "left_knee", "left_ankle", "left_foot"),
    "Right leg": ("right_hip", "right_knee", "right_ankle", "right_foot"),
}
"""The body's joints, by limb."""

_MOST_STEPS = 200
"""Number of changes that can be undone."""
_TOGETHER_SECONDS = 1.0
"""Changes of one joint that follow each other faster than this, in seconds, are undone together."""


class PoseEditor:
    """A pose, and what it was before.

    Args:
        rest: the pose to begin with, and to go back to.

    >>> standing = BodyState(torch.zeros(10), torch.zeros(3), torch.zeros(69), torch.zeros(3))
    >>> editor = PoseEditor(standing)
    >>> editor.turn("left_elbow", 1, -0.5, now=0.0)
    >>> editor.mirror()
    >>> editor.rotation("right_elbow").tolist()
    [0.0, 0.5, 0.0]
    >>> editor.undo()
    True
    >>> editor.rotation("left_elbow").tolist()
    [0.0, -0.5, 0.0]
    """

    def __init__(self, rest: BodyState) -> None:
        self.rest = rest
        self.state = rest
        self._before: list[BodyState] = []
        self._undone: list[BodyState] = []
        self._last_change: tuple[str | None, float] = (None, -math.inf)

    def rotation(self, joint: str) -> Float[Tensor, "3"]:
        """Rotation of a joint relative to its parent, of the pelvis in the world; axis-angle, radians."""
        return self._rotations()[JOINT_NAMES.index(joint)].clone()

    def turn(self, joint: str, axis: int, radians: float, now: float) -> None:
        """Sets one component of a joint's axis-angle vector.

        Args:
            joint: one of the body's own names.
            axis: 0, 1 or 2.
            radians: its new value.
            now: a clock's time in seconds, by which changes in one movement are told from others.
        """
        rotation = self.rotation(joint)
        rotation[axis] = radians
        self.set_rotations({joint: rotation}, now)

    def set_rotations(self, rotations: Mapping[str, Float[Tensor, "3"]], now: float) -> None:
        """Turns some joints at once; see `turn`."""
        turned = self._rotations()
        for joint, rotation in rotations.items():
            turned[JOINT_NAMES.index(joint)] = rotation
        self._drag(" ".join(rotations), self._with(turned), now)

    def move(self, offset: Float[Tensor, "3"], now: float) -> None:
        """Moves the whole body, in metres; see `turn`."""
        self._drag("", replace(self.state, transl=self.state.transl + offset), now)

    def _drag(self, what: str, state: BodyState, now: float) -> None:
        before, when = self._last_change
        self._change(state, remember=what != before or now - when > _TOGETHER_SECONDS)
        self._last_change = what, now

    def take(self, state: BodyState) -> None:
        """Goes on from another pose of the same body."""
        self._change(replace(state, betas=self.rest.betas))

    def mirror(self) -> None:
        """Swaps left and right, as in a mirror that the body faces."""
        self._change(self._with(_mirrored(self._rotations())))

    def copy_side(self, side: str) -> None:
        """Gives the other side the pose of this one, mirrored.

        Args:
            side: `left` or `right`.
        """
        rotations = self._rotations()
        mirrored = _mirrored(rotations)
        other = {"left": "right", "right": "left"}[side]
        for joint, name in enumerate(JOINT_NAMES):
            if name.startswith(other):
                rotations[joint] = mirrored[joint]
        self._change(self._with(rotations))

    def reset(self, joints: tuple[str, ...] = JOINT_NAMES) -> None:
        """Puts joints back into the rest pose, and with all of them the body to its place."""
        rotations, rest = self._rotations(), _rotations(self.rest)
        for name in joints:
            rotations[JOINT_NAMES.index(name)] = rest[JOINT_NAMES.index(name)]
        state = self._with(rotations)
        self._change(replace(state, transl=self.rest.transl) if joints == JOINT_NAMES else state)

    def undo(self) -> bool:
        """Takes the last change back; whether there was one."""
        return self._swap(self._before, self._undone)

    def redo(self) -> bool:
        """Makes a change again that was taken back; whether there was one."""
        return self._swap(self._undone, self._before)

    def _swap(self, source: list[BodyState], target: list[BodyState]) -> bool:
        if not source:
            return False
        target.append(self.state)
        self.state = source.pop()
        self._last_change = (None, -math.inf)
        return True

    def _change(self, state: BodyState, remember: bool = True) -> None:
        if remember:
            self._before = [*self._before[1 - _MOST_STEPS :], self.state]
        self._undone.clear()
        self.state = state
        self._last_change = (None, -math.inf)

    def _rotations(self) -> Float[Tensor, "24 3"]:
        return _rotations(self.state)

    def _with(self, rotations: Float[Tensor, "24 3"]) -> BodyState:
        return replace(self.state, global_orient=rotations[0], body_pose=rotations[1:].flatten())


def _rotations(state: BodyState) -> Float[Tensor, "24 3"]:
    return torch.cat([state.global_orient, state.body_pose]).view(24, 3).clone()


def _mirrored(rotations: Float[Tensor, "24 3"]) -> Float[Tensor, "24 3"]:
    """The pose seen in a mirror that the body faces upright: x, its left, becomes -x."""
    swapped = [JOINT_NAMES.index(_OTHER_SIDE.get(name, name)) for name in JOINT_NAMES]
    flip = torch.tensor([1.0, -1.0, -1.0])
    mirrored = rotations[swapped] * flip
    heading = upright_facing(rotations[0])
    lean = compose_axis_angle(-heading, rotations[0])
    mirrored[0] = compose_axis_angle(heading, lean * flip)
    return mirrored


_OTHER_SIDE = {
    name: name.replace(side, other, 1)
    for side, other in (("left", "right"), ("right", "left"))
    for name in JOINT_NAMES
    if name.startswith(side)
}
