"""What the benchmarks share: the shipped stand-in body, random poses of it, a painted scene, and a stopwatch.

Import this before torch: torch's OpenMP threads spin after every operation unless told otherwise, and fight numba's.
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

# isort: split
import torch
from torch import Tensor

from nerfstudio_avatars.bodies.linear_blend_skinning import joint_transforms, skin
from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import Mesh
from nerfstudio_avatars.instant_avatar.poses.pose_table import canonical_state


def note(text: str) -> None:
    """Progress, to stderr: stdout holds the one JSON object."""
    print(text, file=sys.stderr, flush=True)


def median_seconds(work: Callable[[], object], repetitions: int, warm_up: int = 1) -> float:
    """Median wall time of a call."""
    for _ in range(warm_up):
        work()
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def seconds_in_turn(work: dict[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Median wall times of several calls, made in turn, so that all meet the same load of the machine."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for repetition in range(repetitions + 1):
        for name, run in work.items():
            start = time.perf_counter()
            run()
            if repetition:  # The first round warms up.
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def peak_memory_mb() -> int:
    """The most memory this process has held, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))


class StandIn:
    """The shipped body in its canonical pose, and random poses of it (75 numbers: orientation, body, translation)."""

    def __init__(self) -> None:
        self.body = load_standin()
        state = canonical_state(torch.zeros(10))
        self.rest_joints = self.body.rest(state.betas)[1]
        self.mesh = Mesh(self.body.pose(state).vertices, self.body.faces, self.body.weights)
        self.canonical_pose = torch.cat([torch.zeros(3), state.body_pose, torch.zeros(3)])
        self.canonical_inverse = torch.linalg.inv(self._joints(self.canonical_pose))

    def _joints(self, pose: Tensor) -> Tensor:
        return joint_transforms(self.rest_joints, pose[:3], pose[3:72], pose[72:], self.body.parents)

    def transforms(self, pose: Tensor) -> Tensor:
        """Canonical -> posed, (24, 4, 4), metres."""
        return self._joints(pose) @ self.canonical_inverse

    def random_pose(self, std: float, seed: int) -> Tensor:
        """All angles normal with this standard deviation in radians; the translation with 0.3 m."""
        return torch.randn(75, generator=torch.Generator().manual_seed(seed)) * torch.tensor([std] * 72 + [0.3] * 3)

    def points_near(self, pose: Tensor, count: int, seed: int) -> Tensor:
        """Points of the posed skin, moved off it by a normal of 3 cm."""
        generator = torch.Generator().manual_seed(seed)
        skin_points = skin(self.mesh.vertices, self.mesh.weights, self.transforms(pose))
        chosen = skin_points[torch.randint(len(skin_points), (count,), generator=generator)]
        return chosen + 0.03 * torch.randn(count, 3, generator=generator)
