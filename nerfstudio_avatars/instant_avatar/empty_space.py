"""How opaque empty space is: at a few random points every fourth step, or in the update of the paper's grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from nerfstudio_avatars.instant_avatar.losses.occupancy_regulariser import occupancy_regulariser

if TYPE_CHECKING:
    from nerfstudio_avatars.instant_avatar.avatar import CanonicalAvatar, PosedAvatar

PERIOD = 4
"""Number of steps between two evaluations of random points in empty space."""
_POINTS = 4096
_UNION_PERIOD = 20
"""Number of steps between two updates of the paper's grid."""
_UNION_WARMUP = 500
"""Number of steps in which the paper's regulariser uses the newest state of the grid."""


def looks_at_empty_space(step: int) -> bool:
    """Whether a step evaluates random points; the paper's grid has its own period."""
    return step % PERIOD == 0


def empty_space_opacity(avatar: CanonicalAvatar, step: int, last_posed: PosedAvatar | None) -> Tensor | None:
    """Mean opacity in empty space; None in steps that do not evaluate it.

    Args:
        avatar: in training.
        step: of the training.
        last_posed: the avatar in the pose of the step's last frame, in which the paper's grid is updated.
    """
    if avatar.union is not None:
        if step % _UNION_PERIOD:
            return None
        assert last_posed is not None
        return avatar.update_union(last_posed, step < _UNION_WARMUP, float(_UNION_PERIOD))
    if not looks_at_empty_space(step):
        return None
    points, empty = avatar.occupancy.points_in_band(_POINTS)
    return occupancy_regulariser(avatar.density_with_gradient(points), empty, period=1.0)
