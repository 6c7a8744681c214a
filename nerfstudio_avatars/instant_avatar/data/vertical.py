"""Estimates which way is up in a recording, from the person who turns in front of the camera."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES, PosedBody

STANDING = 0.95
"""Least length of the mean upward axis of the body: less is somebody who bends, lies or turns cartwheels."""
TURNING = 0.5
"""Least variance of the unit vector that the person faces along: 0 is somebody who never turns, 1 a whole turn."""
LEAST_TILT = 2.0
"""Degrees; less than this is how people sway, and how poses err."""


def body_axes(posed: list[PosedBody]) -> tuple[Float[Tensor, "frames 3"], Float[Tensor, "frames 3"]]:
    """Unit vectors along which bodies stand (`upward`), and along which their pelvis faces."""
    up = upward(torch.stack([body.joints for body in posed]))
    return up, torch.stack([body.joint_transforms[0, :3, 2] for body in posed])


def upward(joints: Float[Tensor, "frames 24 3"]) -> Float[Tensor, "frames 3"]:
    """Unit vectors from the ankles to the head.

    They tell the vertical better than the pelvis does, which estimators tilt at will and make up for in the hips.
    """
    head, left, right = (joints[:, JOINT_NAMES.index(name)] for name in ("head", "left_ankle", "right_ankle"))
    return F.normalize(head - (left + right) / 2, dim=-1)


def plumb_line(up: Float[Tensor, "frames 3"], facing: Float[Tensor, "frames 3"]) -> Float[Tensor, "3"]:
    """The true vertical, in a world that a camera taken for level made upright (z up).

    The horizontal part u of the body's upward axis is the tilt t of the world plus the person's own lean l, which turns
    with them: u = t + l e, where e is the unit vector that they face along (complex numbers). Least squares over frames
    give l = cov(u, e) / var(e) and t = mean(u) - l mean(e).

    Args:
        up: the body's upward axis in each frame, as `body_axes` gives it; unit vectors.
        facing: where the body faces.

    Returns:
        A unit vector; (0, 0, 1) for somebody who does not stand or hardly turns, from whom nothing can be told, and for
        less than `LEAST_TILT`.
    """
    level = up.new_tensor([0.0, 0.0, 1.0])
    if up.mean(0).norm() < STANDING:
        return level
    u, e = torch.view_as_complex(up[:, :2].contiguous()), torch.view_as_complex(facing[:, :2].contiguous()).sgn()
    around, mean = e - e.mean(), u.mean()
    variance = around.abs().square().mean()
    if variance < TURNING:
        return level
    tilt = mean - ((u - mean) * around.conj()).mean() / variance * e.mean()
    if tilt.abs() < torch.tensor(LEAST_TILT).deg2rad().sin():
        return level
    return torch.stack([tilt.real, tilt.imag, (1 - tilt.abs().square()).sqrt()])
