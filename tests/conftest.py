"""Fixtures that many tests share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.bodies.smpl_body import SmplBody
from nerfstudio_avatars.bodies.standin import load_standin


@pytest.fixture(scope="session")
def standin() -> SmplBody:
    """The body that ships with the package."""
    return load_standin()


@pytest.fixture(scope="session")
def random_pose() -> Callable[..., BodyState]:
    """`random_pose(seed, std)`: a random shape, pose (standard deviation in radians) and place (some 30 cm off)."""

    def draw(seed: int = 0, std: float = 0.4) -> BodyState:
        generator = torch.Generator().manual_seed(seed)
        betas, orient, body, transl = (torch.randn(size, generator=generator) for size in (10, 3, 69, 3))
        return BodyState(betas=betas, global_orient=orient, body_pose=std * body, transl=0.3 * transl)

    return draw
