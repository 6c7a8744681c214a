"""Poses of a video that another tool has found, such as WHAM, GVHMR, 4D-Humans, ROMP, TRAM or SAM 3D Body."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.smpl_body import SmplBody
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion.readers import read_motion
from nerfstudio_avatars.process.body_fit import JOINTS, FittedBody, compared, skin_landmarks
from nerfstudio_avatars.process.body_landmarks import LANDMARKS, SeenBody

_ALIKE = 0.02
"""Relative difference of two numbers of frames that are the same."""
_CLEARLY = 0.02
"""How much better bodies must cover the masks when they are put where the masks are, in intersection over union."""
_ROUNDS = 5
"""Rounds in which a body is put where its mask is; a round leaves a tenth of the error or less."""
_NEAREST, _START = 0.3, 3.0
"""Distance from the camera in metres below which a body cannot be seen, and at which it is put to begin with."""


@dataclass(frozen=True)
class GivenPoses:
    """Poses in the camera's axes (x right, y down, z forward), and the frames of the video that they belong to."""

    motion: BodySequence
    rows: dict[int, int]
    """Row of the motion by frame of the video."""
    focal: float | None
    """Focal length in pixels of the filmed picture, if the file tells it."""
    told: tuple[str, ...]
    """What was assumed, one sentence each."""

    @classmethod
    def read(cls, path: Path, person: str | None, body: SmplBody, frames: int, fps: float) -> GivenPoses:
        """Reads any motion file that has its poses in the camera's axes.

        Args:
            path: what `read_motion` reads.
            person: the person to take if the file holds several; by default the one in most frames.
            body: the body that is to be posed.
            frames: length of the video.
            fps: its frames per second.

        Raises:
            DataError: the file cannot be read, its poses are in a world's axes, or it has more frames than the video.
        """
        joints = body.rest(torch.zeros(10))[1].detach()
        found = read_motion(path, person, joints[0], rest_joints=joints, in_camera=True)
        if found.up != "-y":
            expected = (
                "poses in the camera's axes (y down, z forward), as WHAM, GVHMR, 4D-Humans, ROMP, TRAM and others write"
            )
            fix = "give the file of such a tool; poses in a world do not tell where the camera was"
            raise DataError(path, f"poses of {found.format} in a world whose axis {found.up} points up", expected, fix)
        motion, told = found.sequence, [f"The poses are those of {found.format}."]
        own = motion.body == body.name or (motion.body == "smpl" and body.name != "standin")
        if not own:
            told.append("Their body model is another one, so the body has its mean shape.")
        motion = replace(
            motion,
            betas=motion.betas if own else torch.zeros(10),
            gender=body.gender,
            body=body.name,
        )
        rate = _rate(path, found.first_frame + len(motion), frames, motion.fps / fps)
        numbers = {number: round(number * rate) - found.first_frame for number in range(frames)}
        rows = {number: row for number, row in numbers.items() if 0 <= row < len(motion)}
        if rate != 1:
            told.append(f"They are {motion.fps:g} per second, and the video has {fps:g}.")
        if len(rows) < frames:
            told.append(f"They are for {len(rows)} of the video's {frames} frames.")
        return cls(motion, rows, found.focal, tuple(told))

    def field_of_view(self, height: int, width: int) -> float | None:
        """Along the longer side of the filmed picture, in degrees; None if the file does not tell."""
        return None if self.focal is None else math.degrees(2 * math.atan(max(height, width) / 2 / self.focal))

    def fitted(
        self, numbers: Sequence[int], masks: Sequence[Bool[np.ndarray, "h w"]], body: SmplBody, intrinsic: np.ndarray
    ) -> tuple[FittedBody, str]:
        """The bodies in some frames, and whose places they have, as a sentence.

        Tools mean different cameras, and many files do not tell theirs. So bodies are also put where the masks are, as
        high and as far to the side; if they cover the masks better there, that is kept.

        Args:
            numbers: of the frames in the video; each has a pose.
            masks: the person in these frames.
            body: the body that is posed.
            intrinsic: the camera of the masks, in pixels; the centre of the first pixel is at one half.
        """
        chosen = torch.tensor([self.rows[number] for number in numbers])
        theirs = replace(
            self.motion,
            global_orient=self.motion.global_orient[chosen],
            body_pose=self.motion.body_pose[chosen],
            transl=self.motion.transl[chosen],
        )
        ours = placed(theirs, masks, body, intrinsic)
        at_masks = compared(body, ours, masks, intrinsic)
        if (theirs.pelvis(body.rest(theirs.betas)[1][0].detach())[:, 2] > _NEAREST).all():
            as_told = compared(body, theirs, masks, intrinsic)
            if as_told[1].mean() > at_masks[1].mean() - _CLEARLY:
                return FittedBody(theirs, None, *as_told), "The bodies are where the file has them."
        said = "The bodies are put where the masks are: as the file has them, they do not fit this camera."
        return FittedBody(ours, None, *at_masks), said


def _rate(path: Path, end: int, frames: int, by_time: float) -> float:
    """Rows of the file for each frame of the video: 1, or as their rates are, if only that makes them end together."""

    def alike(count: float) -> bool:
        return abs(end - count) <= max(_ALIKE * count, 1)

    if alike(frames):
        return 1.0
    if alike(frames * by_time):
        return by_time
    if end > frames:
        fix = "give the video that the poses were found in"
        raise DataError(path, f"poses up to frame {end}", f"those of a video of {frames} frames", fix)
    return 1.0


@torch.no_grad()
def placed(
    motion: BodySequence, masks: Sequence[Bool[np.ndarray, "h w"]], body: SmplBody, intrinsic: np.ndarray
) -> BodySequence:
    """A motion whose bodies are as tall in the picture as the masks, and in the same place.

    Args:
        motion: in the camera's axes; only its translations change.
        masks: of each frame, not empty.
        body: the body that is posed.
        intrinsic: the camera of the masks, in pixels; the centre of the first pixel is at one half.
    """
    focal, centre = float(intrinsic[0, 0]), torch.from_numpy(intrinsic[:2, 2]).float()
    transl = []
    for frame, mask in enumerate(masks):
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        low = torch.tensor([columns[0], rows[0]]).float()
        high = torch.tensor([columns[-1] + 1, rows[-1] + 1]).float()
        vertices = body.pose(motion.state(frame)).vertices - motion.transl[frame]
        at = torch.tensor([0.0, 0.0, _START]) - vertices.mean(0)
        for _ in range(_ROUNDS):
            first, last = _box(vertices + at, focal, centre)
            depth = float((vertices + at)[:, 2].mean())
            at[2] += depth * ((last - first)[1] / (high - low)[1] - 1)
            first, last = _box(vertices + at, focal, centre)
            at[:2] += ((low + high) - (first + last)) / 2 / focal * float((vertices + at)[:, 2].mean())
        transl.append(at)
    return replace(motion, transl=torch.stack(transl))


def _box(vertices: Float[Tensor, "vertices 3"], focal: float, centre: Tensor) -> tuple[Tensor, Tensor]:
    pixels = focal * vertices[:, :2] / vertices[:, 2:].clamp(min=_NEAREST) + centre
    return pixels.amin(0), pixels.amax(0)


@torch.no_grad()
def landmarks_of(
    fitted: FittedBody, masks: Sequence[np.ndarray], body: SmplBody, intrinsic: np.ndarray
) -> list[SeenBody]:
    """What a network would see of the bodies: landmarks where their joints are.

    Args:
        fitted: the bodies, in the camera's axes.
        masks: of each frame, from 0 to 255.
        body: the body that is posed.
        intrinsic: the camera of the masks, in pixels; the centre of the first pixel is at one half.
    """
    joints = [JOINT_NAMES.index(name) for name in JOINTS.values()]
    on_skin = skin_landmarks(body.rest(torch.zeros(10))[0].detach(), body.weights)
    known = [*JOINTS, *on_skin]
    seen = []
    for frame, mask in enumerate(masks):
        posed = body.pose(fitted.motion.state(frame))
        places = np.zeros((LANDMARKS, 3))
        places[known] = torch.cat([posed.joints[joints], posed.vertices[list(on_skin.values())]]).double().numpy()
        projected = places @ intrinsic.T
        points = np.zeros((LANDMARKS, 2))
        points[known] = projected[known, :2] / projected[known, 2:]
        visibility = np.zeros(LANDMARKS)
        visibility[known] = 1.0
        seen.append(SeenBody(points, visibility, places - (places[23] + places[24]) / 2, mask))
    return seen
