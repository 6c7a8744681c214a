"""Estimates which way is up in a recording, from the person who turns in front of the camera."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES, PosedBody

_STANDING = 0.95
"""Smallest length of the mean upward axis of a body that stands; less means bending, lying or cartwheels."""
_TURNING = 0.5
"""Smallest variance of the unit vector that a turning person faces along: 0 is no turn, and 1 a whole turn."""
_LEAST_TILT = 2.0
"""Smallest tilt in degrees that differs from swaying and from errors of poses."""


def body_axes(posed: list[PosedBody]) -> tuple[Float[Tensor, "frames 3"], Float[Tensor, "frames 3"]]:
    """Unit vectors along which bodies stand (`upward`), and along which their pelvis faces."""
    up = upward(torch.stack([body.joints for body in posed]))
    return up, torch.stack([body.joint_transforms[0, :3, 2] for body in posed])


def upward(joints: Float[Tensor, "frames 24 3"]) -> Float[Tensor, "frames 3"]:
    """Unit vectors from the ankles to the head.

    They show the vertical better than the pelvis, which estimators tilt freely and compensate for in the hips.
    """
    head, left, right = (joints[:, JOINT_NAMES.index(name)] for name in ("head", "left_ankle", "right_ankle"))
    return F.normalize(head - (left + right) / 2, dim=-1)


def plumb_line(up: Float[Tensor, "frames 3"], facing: Float[Tensor, "frames 3"]) -> Float[Tensor, "3"]:
    """Estimates the true vertical in a world whose z axis comes from a camera that was assumed to be level.

    The horizontal part u of the body's upward axis is the tilt t of the world plus the lean l of the person, which
    turns with them: u = t + l e, where e is the unit vector they face along (as complex numbers). Least squares over
    frames gives l = cov(u, e) / var(e) and t = mean(u) - l mean(e).

    Args:
        up: the upward axis of the body in each frame, from `body_axes`; unit vectors.
        facing: the direction that the body faces.

    Returns:
        A unit vector; (0, 0, 1) if the person does not stand or hardly turns, and for tilts below `_LEAST_TILT`.
    """
    level = up.new_tensor([0.0, 0.0, 1.0])
    if up.mean(0).norm() < _STANDING:
        return level
    u, e = torch.view_as_complex(up[:, :2].contiguous()), torch.view_as_complex(facing[:, :2].contiguous()).sgn()
    around, mean = e - e.mean(), u.mean()
    variance = around.abs().square().mean()
    if variance < _TURNING:
        return level
    tilt = mean - ((u - mean) * around.conj()).mean() / variance * e.mean()
    if tilt.abs() < torch.tensor(_LEAST_TILT).deg2rad().sin():
        return level
    return torch.stack([tilt.real, tilt.imag, (1 - tilt.abs().square()).sqrt()])
