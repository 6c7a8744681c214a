"""The stand-in body: a human in SMPL's schema, free to use (CC0), which ships with the package."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from nerfstudio_avatars.bodies.smpl_arrays import SmplArrays
from nerfstudio_avatars.bodies.smpl_body import SmplBody

STANDIN_FILE = Path(__file__).parents[1] / "assets" / "standin_smpl_neutral.npz"
"""13,718 vertices, 24 joints, 10 shape directions, no pose correctives; made by `scripts/make_standin_body.py`."""


@lru_cache(maxsize=1)
def load_standin() -> SmplBody:
    """The stand-in body, on the CPU.

    >>> import torch
    >>> body = load_standin()
    >>> vertices, joints = body.rest(torch.zeros(10))
    >>> joints.shape, body.joint_names[15]
    (torch.Size([24, 3]), 'head')

    It moves correctly in poses of SMPL. It has a shape space of its own, in which betas fitted to SMPL mean nothing,
    and zeros are the average adult.
    """
    with np.load(STANDIN_FILE, allow_pickle=False) as file:
        return SmplBody(SmplArrays.checked(dict(file), STANDIN_FILE), name="standin")
