"""What the readers' tests share: poses, and the vertices that SMPL's own convention gives them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.bodies.body_sequence import BodySequence

Posed = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def lively_poses() -> Callable[..., np.ndarray]:
    """`lively_poses(frames, seed, angles)`: random axis-angle poses; the root turns any way, also upside down."""

    def draw(frames: int, seed: int = 0, angles: int = 72) -> np.ndarray:
        generator = np.random.default_rng(seed)
        poses = 0.3 * generator.normal(size=(frames, angles))
        poses[:, :3] = generator.uniform(-1.7, 1.7, size=(frames, 3))
        return poses

    return draw


@pytest.fixture
def smpl(standin) -> Callable[..., Posed]:
    """`smpl(pose, transl, betas)`: vertices and joints (metres) by the body library, float64."""

    def posed(pose: np.ndarray, transl=(0, 0, 0), betas=None) -> Posed:
        pose = torch.as_tensor(np.asarray(pose), dtype=torch.float32)
        betas = torch.zeros(10) if betas is None else torch.as_tensor(np.asarray(betas), dtype=torch.float32)
        state = BodyState(betas, pose[:3], pose[3:], torch.as_tensor(np.asarray(transl), dtype=torch.float32))
        body = standin.pose(state)
        return body.vertices.double().numpy(), body.joints.double().numpy()

    return posed


@pytest.fixture
def vertices_of(standin) -> Callable[[BodySequence, int], np.ndarray]:
    """`vertices_of(sequence, frame)`: where the sequence puts the stand-in's skin, metres."""

    def vertices(sequence: BodySequence, frame: int) -> np.ndarray:
        return standin.pose(sequence.state(frame)).vertices.double().numpy()

    return vertices
