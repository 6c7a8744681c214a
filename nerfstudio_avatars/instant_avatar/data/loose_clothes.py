"""How far clothes and hair stand away from the fitted body, by the masks: far at a skirt, hardly at an arm."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.smpl_body import SmplBody
from nerfstudio_avatars.instant_avatar.data.recording import Recording
from nerfstudio_avatars.media.rasteriser import rasterise

LOOKED_AT = 12
"""Number of training frames to compare, evenly spread."""
_SIDE = 320
"""Longer side in pixels of the masks that are compared."""
_PERSON = 127
_REGION = 0.06
"""Distance in metres within which vertices of the rest pose see the same cloth."""
_REGIONS, _MEAN_OF = 900, 6
"""Number of regions that overlap one another, and of those whose mean a vertex takes."""
_AT_RIM = 0.02
"""Distance in metres from the edge of the silhouette within which a vertex shows how far the mask reaches."""
_USUAL = 0.75
"""Quantile over the frames that show a vertex at the rim: an arm that was fitted beside its mask in a few does not
count."""
_FEWEST = 3
"""Number of frames that have to show a vertex at the rim."""
_FARTHEST = 0.5
"""Distance in metres that counts at most."""


@torch.no_grad()
def reach_of_masks(recording: Recording, motion: BodySequence, body: SmplBody) -> Float[Tensor, " vertices"]:
    """Distance in metres that the masks usually reach beyond the naked body, at each of its vertices.

    Args:
        recording: its masks, cameras and training frames.
        motion: the motion of the recording, in its world, with the chosen body.
        body: the body that the motion poses.
    """
    frames = recording.splits["train"]
    chosen = sorted({frames[round(n * (len(frames) - 1) / (LOOKED_AT - 1))] for n in range(LOOKED_AT)})
    chosen = [frame for frame in chosen if frame not in recording.novel_poses]
    rest = body.rest(motion.betas)[0].detach().double().numpy()
    seen = [
        _reach_in_frame(recording, body.pose(motion.state(frame)).vertices.double().numpy(), body, frame, mask)
        for frame, mask in zip(chosen, recording.masks(chosen), strict=True)
    ]
    return torch.from_numpy(_usual(np.stack(seen), rest)).float()


def _reach_in_frame(
    recording: Recording, vertices: Float[np.ndarray, "vertices 3"], body: SmplBody, frame: int, mask: np.ndarray
) -> Float[np.ndarray, " vertices"]:
    """Distance of the mask's pixels from the vertex that is nearest to them; NaN where a vertex shows none."""
    from scipy.spatial import cKDTree

    scale = min(_SIDE / max(mask.shape), 1.0)
    width, height = (max(round(side * scale), 1) for side in mask.shape[::-1])
    small = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA) > _PERSON
    factors = np.array([width / mask.shape[1], height / mask.shape[0]])
    intrinsic = np.array(recording.intrinsics[frame])
    intrinsic[:2, 2] += 0.5
    intrinsic[:2] *= factors[:, None]
    intrinsic[:2, 2] -= 0.5
    extrinsic = np.array(recording.extrinsics[frame])
    camera = vertices @ extrinsic[:3, :3].T + extrinsic[:3, 3]
    ours = rasterise(camera, body.faces.numpy(), intrinsic, width, height).face >= 0
    projected = camera @ intrinsic.T
    pixels = projected[:, :2] / projected[:, 2:]
    metres = camera[:, 2].mean() / intrinsic[0, 0]

    reach = np.full(len(vertices), np.nan)
    rows, columns = np.nonzero(_edge(ours))
    if len(rows):
        to_edge, _ = cKDTree(np.stack([columns, rows], -1)).query(pixels)
        reach[to_edge * metres < _AT_RIM] = 0.0
    rows, columns = np.nonzero(small & ~ours)
    if len(rows):
        # The pixel beside the silhouette is at no distance.
        away, nearest = cKDTree(pixels).query(np.stack([columns, rows], -1))
        distance = ((away - 1) * metres).clip(0, _FARTHEST)
        np.fmax.at(reach, nearest, distance)
    return reach


def _edge(silhouette: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    inner = cv2.erode(silhouette.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0)
    return silhouette & (inner == 0)


def _usual(
    reach: Float[np.ndarray, "frames vertices"], rest: Float[np.ndarray, "vertices 3"]
) -> Float[np.ndarray, " vertices"]:
    """The usual reach at each vertex: the farthest of a region in each frame, and a quantile over frames."""
    from scipy.spatial import cKDTree

    centres = rest[:: max(len(rest) // _REGIONS, 1)]
    near = cKDTree(rest).query_ball_point(centres, _REGION)
    starts = np.cumsum([0, *map(len, near[:-1])])
    regions = np.fmax.reduceat(reach[:, np.concatenate(near).astype(int)], starts, axis=1)
    enough = np.isfinite(regions).sum(0) >= _FEWEST
    usual = np.zeros(len(centres))
    usual[enough] = np.nanquantile(regions[:, enough], _USUAL, axis=0)
    # Cloth hangs over its neighbours, too; a mean keeps its border soft.
    _, nearest = cKDTree(centres).query(rest, k=min(_MEAN_OF, len(centres)))
    return usual[nearest].reshape(len(rest), -1).mean(1)
