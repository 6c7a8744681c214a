"""Motions and cameras of the demo: a turn in A-pose for training, and shipped motions for testing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.rotations import compose_axis_angle
from nerfstudio_avatars.demo.gait import STEADY, Gait
from nerfstudio_avatars.demo.on_disk import DemoFolder
from nerfstudio_avatars.demo.person import Camera, DemoPerson
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.poses.pose_table import CANONICAL_ANGLES
from nerfstudio_avatars.motion import load_motion, shipped_motions

_SUBJECT = "demo-casual"
FRAMES = 120
FEWEST_FRAMES = 16
"""Smallest number of frames for which every split has some."""
DISTANCE = 5.2
"""Distance from camera to pelvis in metres."""
FOCAL = 1332 / 540
"""Focal length divided by the side of the picture."""
_PELVIS = (0.0, -0.06, DISTANCE)
"""Position of the pelvis that puts the whole body in the middle of the picture."""
UP = (0.0, -1.0, 0.0)
NOVEL_POSES = (
    ("walk", 0.10, 20, 5), ("walk", 0.45, 110, 0), ("walk", 0.75, 200, 10), ("run", 0.20, 60, 0), ("run", 0.70, 300, 8),
    ("dance_a", 0.30, 150, 0), ("dance_a", 0.60, 330, 12), ("spinkick", 0.35, 80, 0), ("spinkick", 0.60, 250, 5),
    ("cartwheel", 0.30, 30, 0),
)  # fmt: skip
"""Shipped motions, times in them, and azimuths and elevations of the camera in degrees."""


def draw_demo_sequence(
    out: Path,
    *,
    seed: int = 0,
    size: int = 540,
    frames: int = FRAMES,
    subject: str = _SUBJECT,
    person: DemoPerson | None = None,
    gait: Gait = STEADY,
) -> Path:
    """Draws the sequence and writes it as `out/<subject>` in PeopleSnapshot's format.

    Even frames of the video are for training, and every eighth for held-out views; ten held-out poses of the shipped
    motions are seen by other cameras. Poses, cameras and masks are exact; held-out pictures are stored without the
    losses of a video.

    Args:
        out: the folder for that of the subject. An earlier demo there is replaced; anything else is kept.
        seed: decides the shape and sway of the person. The same seed draws the same sequence.
        size: the side of the square pictures, in pixels.
        frames: the number of frames in the video, at least 16.
        subject: the name of the subject.
        person: who is drawn; by default somebody in the demo's clothes, of the seed's shape.
        gait: how they move.

    Returns:
        The folder of the subject.

    Raises:
        DataError: the folder exists and is not a demo sequence.
    """
    if frames < FEWEST_FRAMES:
        raise DataError(out, f"{frames} frames asked for", f"at least {FEWEST_FRAMES}", "ask for a longer turn")
    rng = np.random.default_rng(seed)
    shape = torch.from_numpy(rng.uniform(-0.6, 0.6, 10)).float()
    person = DemoPerson(shape) if person is None else person
    turn = turning(person, frames, rng, gait)
    still = Camera(demo_intrinsic(size), np.eye(4), size, size)
    with DemoFolder(Path(out), subject, person, turn, still) as folder:
        for frame in range(frames):
            folder.add_frame(frame, person.draw(turn.state(frame), still, UP))
        for index, (state, camera) in enumerate(novel_poses(person, size, gait)):
            folder.add_novel_pose(index, state, camera, person.draw(state, camera, UP))
    return Path(out) / subject


def demo_intrinsic(size: int) -> Float[np.ndarray, "3 3"]:
    """Camera matrix of a picture with sides of `size` pixels; the axis passes through its middle."""
    centre = (size - 1) / 2
    return np.array([[FOCAL * size, 0, centre], [0, FOCAL * size, centre], [0, 0, 1.0]])


def turning(person: DemoPerson, frames: int, rng: np.random.Generator, gait: Gait = STEADY) -> BodySequence:
    """One turn in A-pose, swaying by a few degrees as people do; in OpenCV's world (y down), with a fixed pelvis."""
    time = torch.arange(frames) / frames
    angle = 2 * torch.pi * time
    upright = torch.tensor([torch.pi, 0.0, 0.0]).expand(frames, 3)
    about_itself = torch.stack([torch.zeros(frames), angle, torch.zeros(frames)], -1)
    body_pose = torch.zeros(frames, 69)
    for index, value in CANONICAL_ANGLES.items():
        body_pose[:, index] = value
    phase = torch.from_numpy(rng.uniform(0, 2 * np.pi, 69)).float()
    cycles = torch.from_numpy(rng.integers(1, 4, 69)).float()
    reach = torch.from_numpy(rng.uniform(3, 5, 69)).float().deg2rad()
    still = torch.ones(69)
    still[18:21] = still[21:24] = still[27:33] = 0  # ankles and feet stay on the floor
    still[63:69] = 0
    body_pose += 0.5 * gait.sway * still * reach * torch.sin(cycles * angle[:, None] + phase)
    pelvis = person.body.rest(person.betas)[1][0]
    transl = (torch.tensor(_PELVIS) - pelvis).expand(frames, 3)
    orient = compose_axis_angle(upright, about_itself)
    return BodySequence(person.betas, orient, body_pose, transl, fps=30.0, gender="neutral", body="standin")


def novel_poses(person: DemoPerson, size: int, gait: Gait = STEADY) -> Iterator[tuple[BodyState, Camera]]:
    """Held-out poses in the same world, each with a camera of its own."""
    pelvis_rest = person.body.rest(person.betas)[1][0]
    to_camera_axes = torch.tensor([[-1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, -1.0, 0.0]])
    for name, time, azimuth, elevation in NOVEL_POSES:
        motion = load_motion(shipped_motions()[name], pelvis_rest)
        motion = motion.in_frame(to_camera_axes, torch.zeros(3), pelvis_rest)
        at = motion.at(time)
        body_pose = gait.applied(at.body_pose, motion.body_pose.mean(0))
        state = BodyState(person.betas, at.global_orient, body_pose, torch.tensor(_PELVIS) - pelvis_rest)
        yield state, Camera(demo_intrinsic(size), demo_extrinsic(azimuth, elevation), size, size)


def demo_extrinsic(azimuth: float, elevation: float) -> Float[np.ndarray, "4 4"]:
    """World-to-camera matrix of a camera `DISTANCE` metres from the pelvis; (0, 0) is that of the video."""
    a, e = np.deg2rad([azimuth, elevation])
    about_y = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(e), -np.sin(e)], [0, np.sin(e), np.cos(e)]])
    extrinsic = np.eye(4)
    extrinsic[:3, :3] = about_x @ about_y
    extrinsic[:3, 3] = np.array(_PELVIS) - extrinsic[:3, :3] @ np.array(_PELVIS)
    return extrinsic
