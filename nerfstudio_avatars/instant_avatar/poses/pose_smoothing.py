"""Smooths estimated poses over time where they are rough: people move smoothly, estimates jitter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nerfstudio_avatars.bodies.rotations import axis_angle_to_quaternion, compose_axis_angle

if TYPE_CHECKING:
    from nerfstudio_avatars.bodies.body_sequence import BodySequence

_JUMP = 60.0
"""Angle in degrees between a joint and its median over nearby frames above which the pose jumps."""
_AROUND = 3
"""Number of frames before and after that count as nearby."""
_MOST_JUMPS = 0.2
"""Largest share of frames that may jump. If more do, the motion is too fast for the frame rate."""
FEWEST_FRAMES = 8
"""Smallest number of frames that jitter can be estimated from."""
_MOST_AT_ONCE = 1000
"""Largest number of frames to smooth together; the work grows with its cube."""
_HALF_LIKE = 15.0
"""Turn in degrees from one frame to the next at which neighbours tell half as much as in a slow film."""
_LEAST_LIKE = 0.1
"""Likeness of neighbours below which nothing is smoothed."""
_STRENGTHS = np.logspace(-8, 6, 57)


def likeness_of_neighbours(global_orient: Float[Tensor, "frames 3"]) -> float:
    """How far poses of consecutive frames tell about each other: nearly 1 in a film, and nearly 0 in eight photographs.

    Half of it is lost where a person turns by `_HALF_LIKE` degrees from one frame to the next; the turn is the median
    one, because orientations that were estimated jitter, and jitter is to be smoothed.

    Args:
        global_orient: of frames in the order of time, axis-angle, radians.
    """
    if len(global_orient) < 2:
        return 1.0
    turns = compose_axis_angle(-global_orient[:-1], global_orient[1:])
    angle = 2 * axis_angle_to_quaternion(turns)[..., 1:].norm(dim=-1).clamp(max=1).asin()
    return 1 / (1 + (float(angle.median().rad2deg()) / _HALF_LIKE) ** 4)


def smoothing_correction(
    sequence: BodySequence, trained: Int[Tensor, " trained"]
) -> tuple[Float[Tensor, "frames 75"], list[int]]:
    """The corrections that smooth the poses of a sequence.

    Trained frames are smoothed among themselves, without influence of held-out frames. Held-out frames between the
    first and last of them are smoothed among all; frames before or after are kept. Photographs between which the person
    turns far are all kept.

    Args:
        sequence: the poses.
        trained: the numbers of the trained frames.

    Returns:
        Changes of orientation, body pose and translation (radians, metres), and the trained frames that jump.
    """
    trained = trained.unique().cpu()
    given = torch.cat([sequence.global_orient, sequence.body_pose, sequence.transl], 1).double().cpu()
    correction = torch.zeros_like(given)
    if likeness_of_neighbours(sequence.global_orient[trained]) < _LEAST_LIKE:
        return correction.float(), []
    for frames in (torch.arange(int(trained.min()), int(trained.max()) + 1), trained):
        smooth = smooth_poses(given[frames].numpy(), frames.numpy())
        correction[frames] = torch.from_numpy(smooth) - given[frames]
    return correction.float(), trained[torch.from_numpy(jumping_frames(given[trained].numpy()))].tolist()


def jumping_frames(poses: Float[np.ndarray, "frames 75"]) -> Bool[np.ndarray, " frames"]:
    """Frames in which a joint is far from its median over nearby frames, such as flipped poses or swapped people.

    The median of rotations is the one with the smallest sum of angles to the others. Runs of up to three wrong frames
    are found. A fast turn does not count, because its median is the frame itself.

    Args:
        poses: orientation, 23 joints (rotation vectors, radians), translation, in the order of time.
    """
    # Imported here: a finished avatar smooths nothing, and scipy takes half a second.
    from scipy.spatial.transform import Rotation

    if len(poses) < FEWEST_FRAMES:
        return np.zeros(len(poses), bool)
    turns = Rotation.from_rotvec(poses[:, :72].reshape(-1, 3)).as_quat().reshape(-1, 24, 4)
    jumps = np.zeros(len(poses), bool)
    for frame in range(len(poses)):
        first = max(frame - _AROUND, 0)
        window = turns[first : frame + _AROUND + 1]
        cosines = np.abs(np.einsum("ajk,bjk->jab", window, window)).clip(max=1)
        apart = np.degrees(2 * np.arccos(cosines))
        middle = apart.sum(2).argmin(1)
        # At the ends the median is some frames away.
        one_sided = max(_AROUND - frame, frame + _AROUND + 1 - len(poses), 0) / _AROUND
        jumps[frame] = (apart[np.arange(24), middle, frame - first] > _JUMP * (1 + one_sided)).any()
    return jumps if jumps.mean() <= _MOST_JUMPS else np.zeros_like(jumps)


def smooth_poses(poses: Float[np.ndarray, "frames 75"], times: Int[np.ndarray, " frames"]) -> np.ndarray:
    """Removes jitter from poses, and interpolates those that jump.

    Each joint's rotations, and the translation, are smoothed by penalised least squares (Whittaker 1923: the squared
    second differences in time), as strongly as generalised cross-validation suggests (Golub, Heath and Wahba 1979).
    Exact poses are already smooth, and are not changed.

    Args:
        poses: orientation, 23 joints (rotation vectors, radians), translation (metres), in the order of time.
        times: numbers of the frames, rising.

    Returns:
        (frames, 75); rotation vectors are those nearest to the given ones, which may be longer than pi.
    """
    if len(poses) < FEWEST_FRAMES:
        return poses.copy()
    pieces = np.array_split(np.arange(len(poses)), -(-len(poses) // _MOST_AT_ONCE))
    return np.concatenate([_smooth(poses[piece], times[piece].astype(float)) for piece in pieces])


def _smooth(poses: np.ndarray, times: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    kept = ~jumping_frames(poses)
    smoother = _Smoother(times[kept])
    result = np.empty_like(poses)
    for joint in range(24):
        columns = slice(3 * joint, 3 * joint + 3)
        turns = smoother(_continuous_quaternions(poses[kept, columns]))
        turns = np.stack([np.interp(times, times[kept], part) for part in turns.T], 1)
        result[:, columns] = _nearest(Rotation.from_quat(turns).as_rotvec(), poses[:, columns])
    moves = smoother(poses[kept, 72:])
    result[:, 72:] = np.stack([np.interp(times, times[kept], part) for part in moves.T], 1)
    return result


class _Smoother:
    """Penalised least squares at fixed times, in the basis in which the penalty is diagonal."""

    def __init__(self, times: Float[np.ndarray, " frames"]) -> None:
        n, step = len(times), np.diff(times) / np.diff(times).mean()
        bend = np.zeros((n - 2, n))
        for row in range(n - 2):
            before, after = step[row], step[row + 1]
            bend[row, row : row + 3] = 2 / (before + after) * np.array([1 / before, -1 / before - 1 / after, 1 / after])
        self.penalty, self.basis = np.linalg.eigh(bend.T @ bend)

    def __call__(self, values: Float[np.ndarray, "frames channels"]) -> np.ndarray:
        """Smooths all channels alike, as strongly as cross-validation suggests."""
        n, inside = len(values), self.basis.T @ values
        passed = 1 / (1 + _STRENGTHS[:, None] * self.penalty.clip(min=0))
        left = (((1 - passed) ** 2) @ (inside**2)).sum(1)
        score = left / (n - passed.sum(1)) ** 2
        return self.basis @ (passed[score.argmin()][:, None] * inside)


def _continuous_quaternions(turns: Float[np.ndarray, "frames 3"]) -> Float[np.ndarray, "frames 4"]:
    """Chooses, of the two quaternions of a rotation, the one closer to that of the previous frame."""
    from scipy.spatial.transform import Rotation

    quaternions = Rotation.from_rotvec(turns).as_quat()
    flips = np.sign((quaternions[1:] * quaternions[:-1]).sum(1) + 1e-12)
    quaternions[1:] *= np.cumprod(flips)[:, None]
    return quaternions


def _nearest(turns: Float[np.ndarray, "frames 3"], given: Float[np.ndarray, "frames 3"]) -> np.ndarray:
    """The same rotations as rotation vectors closest to given ones, since their length is ambiguous by full turns."""
    angle = np.linalg.norm(turns, axis=1, keepdims=True)
    axis = turns / np.maximum(angle, 1e-12)
    along = (given * axis).sum(1, keepdims=True)
    full = np.round((along - angle) / (2 * np.pi))
    return np.where(angle > 1e-6, turns + axis * full * 2 * np.pi, turns)
