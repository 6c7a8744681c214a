"""SMPL's translation from what tools store instead of it.

SMPL turns the body about its rest pelvis p0 and then adds the translation: the pelvis lies at p0 + t. Some tools turn
it about the origin, others say where the pelvis or the middle of the hips is.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.bodies.standin import load_standin


def turned_about_origin(
    rotations: Rotation, shift: Float[ndarray, "frames 3"], pelvis_rest: Float[ndarray, "3"]
) -> Float[ndarray, "frames 3"]:
    """SMPL's translation where posed points x were moved to R x + shift: t = R p0 + shift - p0, metres."""
    return rotations.apply(pelvis_rest) + shift - pelvis_rest


def hips_at(
    hips: Float[ndarray, "frames 3"], global_orient: Float[ndarray, "frames 3"], pelvis_rest: Float[ndarray, "3"]
) -> Float[ndarray, "frames 3"]:
    """SMPL's translation that puts the middle of the hip joints at `hips`: t = hips - p0 - R (h0 - p0), metres."""
    return hips - pelvis_rest - Rotation.from_rotvec(global_orient).apply(hips_from_pelvis())


@lru_cache(maxsize=1)
def hips_from_pelvis() -> Float[ndarray, "3"]:
    """From the rest pelvis to the middle of the hip joints, metres: the stand-in's, within 2 cm of SMPL's."""
    joints = load_standin().rest(torch.zeros(10))[1].double().numpy()
    return joints[1:3].mean(0) - joints[0]
