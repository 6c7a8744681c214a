"""Checks that poses, masks and cameras of a recording fit together, before anything is learnt from them.

For a handful of training frames, the posed body is drawn as a silhouette and compared with the masks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.bodies.smpl import SmplBody
from nerfstudio_avatars.bodies.smpl_search import GENDERS
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data.prepared_pictures import PERSON
from nerfstudio_avatars.instant_avatar.data.recording import MaskedFrame, Recording
from nerfstudio_avatars.instant_avatar.data.vertical import upward

LOOKED_AT = 6
"""Number of training frames to compare, evenly spread."""
SIDE = 160
"""Longer side in pixels of the masks that are compared."""
LEAST_OVERLAP = 0.3
"""Smallest intersection over union of body and mask; less is another person, another frame or another camera."""
_GOOD_OVERLAP = 0.6
"""Overlap below which a note is made; clothes, hair and errors of the fit leave 0.7 to 0.9."""
_SURE_OVERLAP = 0.8
"""Masks that fit so well are those of the frames, or of frames that look the same."""
SHIFTS = (1, 2, 3, 5, 8, 13, 21, 34)
"""Frames by which masks are tried to be early or late."""
_CLEARLY = 0.1
"""How much better another reading of the masks must fit, in intersection over union."""
_SHORTEST, _TALLEST = 0.6, 2.6
"""Limits on the height in metres of a body in its rest pose."""
_NEAREST, FARTHEST = 0.3, 60.0
"""Limits on the distance in metres from the camera to the person."""
FASTEST = 12.0
"""Largest median speed of the pelvis in metres per second: that of a sprinter."""
_FASTEST_TURN = 40.0
"""Largest median speed of the fastest joint in radians per second: that of a pitcher's shoulder, for a moment."""
LEAP = 1.0
"""Distance in metres of an outlier's pelvis from those of both neighbours, which are near each other."""
_AT_REST = 0.02
"""Largest angle in radians of all joints in a T-pose that nobody stands in."""
_LARGEST_BETA = 10.0


@dataclass(frozen=True)
class InvertedMasks:
    """Pictures of a recording whose masks are white in the background, with the masks inverted back."""

    recording: Recording

    def __call__(self, frames: Sequence[int]) -> Iterator[MaskedFrame]:
        """One at a time."""
        for picture in self.recording.read(frames):
            yield replace(picture, mask=255 - picture.mask)

    def masks_of(self, frames: Sequence[int]) -> Iterator[UInt8[np.ndarray, "height width"]]:
        """The masks alone."""
        for mask in self.recording.masks(frames):
            yield 255 - mask


def checked(recording: Recording, motion: BodySequence, body: SmplBody) -> Recording:
    """Checks that the parts of a recording fit together.

    Args:
        recording: the recording, in the world of its files.
        motion: the motion of the recording, with the chosen gender and body.
        body: the body that the motion poses.

    Returns:
        The recording with more notes, and with its masks inverted back if they are white in the background.

    Raises:
        DataError: if parts cannot belong together; the message gives the figures that show it.
    """
    notes = [*_check_shape(recording, motion, body), *_told_of_motion(recording, motion)]
    frames = _spread([frame for frame in recording.splits["train"] if frame not in recording.novel_poses])
    with torch.no_grad():
        posed = [body.pose(motion.state(frame)) for frame in frames]
    seen = [_Seen.of(recording, frame, one.vertices.double().numpy()) for frame, one in zip(frames, posed, strict=True)]

    def silhouette(frame: int) -> Bool[np.ndarray, "rows columns"]:
        with torch.no_grad():
            vertices = body.pose(motion.state(frame)).vertices
        return _Seen.of(recording, frame, vertices.double().numpy()).silhouette

    _check_place(recording, frames, seen)
    masks = [_small(mask) for mask in recording.masks(frames)]
    recording, masks, told = _turned_back(recording, frames, seen, masks)
    notes += told
    heads_up = upward(torch.stack([one.joints for one in posed])).double().numpy()
    notes += _check_overlap(recording, frames, seen, masks, heads_up, silhouette)
    return replace(recording, notes=(*recording.notes, *notes))


def _spread(frames: list[int]) -> list[int]:
    rows = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), LOOKED_AT)).round().astype(int))
    return [frames[row] for row in rows.tolist()]


# Alone ----------------------------------------------------------------------------------------------------------------


def _check_shape(recording: Recording, motion: BodySequence, body: SmplBody) -> list[str]:
    """Refuses impossible bodies."""
    if motion.gender not in GENDERS:
        fix = "give --gender neutral, male or female"
        raise DataError(recording.folder, f"the gender {motion.gender!r}", ", ".join(GENDERS), fix)
    betas = motion.betas
    fix = "set betas to zero, or fit the shape again"
    if not betas.isfinite().all() or betas.abs().max() > _LARGEST_BETA:
        shown = ", ".join(f"{beta:.1f}" for beta in betas.tolist())
        expected = f"finite numbers from -{_LARGEST_BETA:g} to {_LARGEST_BETA:g}; most people are within 3"
        raise DataError(recording.folder, f"betas {shown}", expected, fix)
    height = float(np.ptp(body.rest(betas)[0][:, 1].detach().numpy()))
    if not _SHORTEST <= height <= _TALLEST:
        raise DataError(recording.folder, f"betas of a body {height:.2f} m tall", f"{_SHORTEST} to {_TALLEST} m", fix)
    return []


def _told_of_motion(recording: Recording, motion: BodySequence) -> list[str]:
    """Notes on oddities of the motion that do not prevent training."""
    notes = []
    count = len(motion) - len(recording.novel_poses)
    poses = torch.cat([motion.global_orient, motion.body_pose], 1)[:count].double()
    still = poses[:, 3:].abs().amax(1) < _AT_REST
    if count > 2 and still[0] and not still[1:].all():
        where = "and not learnt from unless it is asked for" if 0 not in recording.splits["train"] else "the video's?"
        notes.append(f"the pose of frame 0 is a T-pose, {where} If not, leave it out: --train 1:{count - 1}")
    if count < 3:
        return notes
    place = motion.transl[:count].double()
    speed = float(place.diff(dim=0).norm(dim=1).median() * motion.fps)
    rotations = axis_angle_to_matrix(poses.view(count, -1, 3))
    between = rotations[1:] @ rotations[:-1].mT
    angle = ((between.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1).arccos().amax(1)
    turning = float(angle.median() * motion.fps)
    if speed > FASTEST or turning > _FASTEST_TURN:
        notes.append(
            f"at {motion.fps:g} frames per second, the person moves at {speed:.1f} m/s and turns a joint at "
            f"{turning:.0f} rad/s, which is faster than people can: the true frame rate is lower. This only changes "
            "the speed of films"
        )
    neighbours = (place[2:] - place[:-2]).norm(dim=1)
    leaps = torch.minimum((place[1:-1] - place[:-2]).norm(dim=1), (place[2:] - place[1:-1]).norm(dim=1))
    found = ((leaps > LEAP) & (neighbours < LEAP)).nonzero()[:, 0] + 1
    if len(found):
        named = ", ".join(str(int(frame)) for frame in found[:5]) + (", ..." if len(found) > 5 else "")
        notes.append(
            f"{len(found)} frames lie more than {LEAP:g} m from their neighbours ({named}): outliers of the fit"
        )
    return notes


# The body in the picture ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    """The posed body as a camera sees it."""

    silhouette: Bool[np.ndarray, "rows columns"]
    within: float
    """Share of the body that is in the picture."""
    behind: float
    """Share of the body that is behind the camera."""
    depth: float
    """Median distance in metres from the camera."""
    points: Float[np.ndarray, "vertices 2"]
    """The body in pixels of the small masks."""
    up: Float[np.ndarray, "3"]
    """Of the picture, in the files' world."""

    @classmethod
    def of(cls, recording: Recording, frame: int, vertices: Float[np.ndarray, "vertices 3"]) -> _Seen:
        extrinsic, intrinsic = recording.extrinsics[frame], recording.intrinsics[frame]
        seen = vertices @ extrinsic[:3, :3].T + extrinsic[:3, 3]
        before = seen[:, 2] > 1e-3
        pixels = np.full((len(seen), 2), -1e6)
        projected = seen[before] @ intrinsic.T
        pixels[before] = projected[:, :2] / projected[:, 2:]
        scale = SIDE / max(recording.height, recording.width)
        points = ((pixels + 0.5) * scale).clip(-1e6, 1e6)
        rows, columns = _small_size(recording.height, recording.width)
        inside = (points >= 0).all(1) & (points[:, 0] < columns) & (points[:, 1] < rows)
        return cls(
            silhouette=_filled(points, rows, columns),
            within=float(inside.mean()),
            behind=float(1 - before.mean()),
            depth=float(np.median(seen[:, 2])),
            points=points,
            up=-extrinsic[1, :3],
        )


def _small_size(height: int, width: int) -> tuple[int, int]:
    scale = SIDE / max(height, width)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def _small(mask: UInt8[np.ndarray, "height width"]) -> Bool[np.ndarray, "rows columns"]:
    rows, columns = _small_size(*mask.shape)
    return cv2.resize(mask, (columns, rows), interpolation=cv2.INTER_AREA) > PERSON


def _filled(points: Float[np.ndarray, "vertices 2"], rows: int, columns: int) -> Bool[np.ndarray, "rows columns"]:
    """Fills the body. At this size, vertices are so dense that only small gaps are left."""
    grid = np.zeros((rows, columns), np.uint8)
    place = np.floor(points).astype(int)
    place = place[((place >= 0) & (place < [columns, rows])).all(1)]
    grid[place[:, 1], place[:, 0]] = 1
    return cv2.morphologyEx(grid, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0


def _check_place(recording: Recording, frames: list[int], seen: list[_Seen]) -> None:
    behind = [frame for frame, one in zip(frames, seen, strict=True) if one.behind > 0.5]
    fix = "give poses, extrinsics and intrinsics of one recording: metres, OpenCV's axes (y down, z forward), pixels"
    if len(behind) > len(frames) / 2:
        found = f"the posed body is behind the camera in {len(behind)} of {len(frames)} frames (first: {behind[0]})"
        raise DataError(recording.folder, found, "a person before the camera", fix)
    distance = float(np.median([one.depth for one in seen]))
    if not _NEAREST <= distance <= FARTHEST:
        found = f"a person {distance:.3g} m from the camera"
        raise DataError(recording.folder, found, f"{_NEAREST:g} to {FARTHEST:g} m", fix + "; not millimetres")
    outside = [frame for frame, one in zip(frames, seen, strict=True) if one.within < 0.05]
    if len(outside) > len(frames) / 2:
        middle = np.median([np.median(one.points, axis=0) for one in seen], axis=0) * (
            max(recording.height, recording.width) / SIDE
        )
        found = (
            f"the posed body is outside of the picture in {len(outside)} of {len(frames)} frames: its middle is at "
            f"({middle[0]:.0f}, {middle[1]:.0f}) of {recording.width}x{recording.height} pixels"
        )
        raise DataError(recording.folder, found, "a person in the picture", fix)


# The body and the masks -----------------------------------------------------------------------------------------------


def overlap(a: Bool[np.ndarray, "rows columns"], b: Bool[np.ndarray, "rows columns"]) -> float:
    """Intersection over union."""
    return float((a & b).sum() / max((a | b).sum(), 1))


def _turned_back(
    recording: Recording, frames: list[int], seen: list[_Seen], masks: list[np.ndarray]
) -> tuple[Recording, list[np.ndarray], list[str]]:
    """Recognises masks that are white in the background: full around the body, and empty inside."""
    told = [(mask, one.silhouette) for mask, one in zip(masks, seen, strict=True) if 0 < one.silhouette.mean() < 1]
    if not told:
        return recording, masks, []
    on = np.median([mask[body].mean() for mask, body in told])
    around = np.median([mask[~body].mean() for mask, body in told])
    fit = np.median([overlap(mask, body) for mask, body in told])
    inverse = np.median([overlap(~mask, body) for mask, body in told])
    if not (around - on > 0.5 and inverse > fit + _CLEARLY and inverse > LEAST_OVERLAP):
        return recording, masks, []
    back = InvertedMasks(recording)
    note = (
        f"masks are white in the background ({around:.0%} of the background, {on:.0%} of the body): they are "
        "inverted back"
    )
    return replace(recording, read=back, masks=back.masks_of), [~mask for mask in masks], [note]


def _check_overlap(
    recording: Recording,
    frames: list[int],
    seen: list[_Seen],
    masks: list[np.ndarray],
    heads_up: np.ndarray,
    silhouette: Callable[[int], np.ndarray],
) -> list[str]:
    told = [row for row, mask in enumerate(masks) if mask.any() and not mask.all()]
    # Frames whose mask is empty or full are reported when all of them have been read.
    if not told:
        return []
    bodies, masks = [seen[row].silhouette for row in told], [masks[row] for row in told]
    fit = float(np.median([overlap(body, mask) for body, mask in zip(bodies, masks, strict=True)]))
    shown = f"posed body and masks overlap by {fit:.2f} (intersection over union, median of {len(told)} frames)"
    upright = float(np.median([heads_up[row] @ seen[row].up for row in told]))
    count = len(recording.motion) - len(recording.novel_poses)
    other = _better_reading(bodies, masks)
    if fit < _SURE_OVERLAP:
        shifted = _shifted([frames[row] for row in told], masks, count, silhouette)
        other = max((one for one in (other, shifted) if one is not None), key=lambda one: one[1], default=None)
    if other is not None and other[1] > fit + _CLEARLY:
        reading, better = other
        raise DataError(
            recording.folder,
            f"{shown}; {reading}, by {better:.2f}",
            "parts of one recording",
            _WAYS.get(reading, "give masks and poses that belong to the same pictures: one list begins too early"),
        )
    if fit < LEAST_OVERLAP:
        scale = max(recording.height, recording.width) / SIDE
        tall = f"masks are {scale * _height(masks):.0f} pixels tall, the body is {scale * _height(bodies):.0f}"
        focal = float(np.median(recording.intrinsics[frames, 0, 0]))
        view = math.degrees(2 * math.atan(max(recording.height, recording.width) / 2 / focal))
        found = f"{shown}: {tall}; the camera's field of view is {view:.0f} degrees"
        fix = "give masks, poses, body and cameras of one recording, frame by frame: draw the poses over the pictures"
        raise DataError(recording.folder, found, f"at least {LEAST_OVERLAP}", fix)
    notes = [] if fit >= _GOOD_OVERLAP else [f"{shown}; {_GOOD_OVERLAP} or more is usual: look at the poses and masks"]
    if upright < -0.5:
        notes.append("the person stands on their head in the pictures, and so do the poses: is the video upside down?")
    elif abs(upright) < 0.5:
        notes.append("the person lies across the picture, and so do the poses: was the camera held sideways?")
    return notes


def _height(shapes: list[np.ndarray]) -> float:
    """Median number of rows from the uppermost to the lowest pixel, both included."""
    return float(np.median([np.ptp(np.flatnonzero(shape.any(1))) + 1 if shape.any() else 0 for shape in shapes]))


_UPSIDE_DOWN = "with the masks upside down"
_MIRRORED = "with the masks mirrored left to right"
_BACKWARDS = "with the masks in the reverse order"
_SMALLER = "with the body at half its size"
_LARGER = "with the body at twice its size"
_WAYS = {
    _UPSIDE_DOWN: "give poses whose up is the pictures': OpenCV's y points down; turn pictures and masks alike",
    _MIRRORED: "mirror pictures and masks alike, or use poses of the pictures as they are",
    _BACKWARDS: "give masks and poses in the order of the pictures",
    _SMALLER: "give cameras at the size of the pictures: halve focal lengths and centres with the pictures",
    _LARGER: "give cameras at the size of the pictures: double focal lengths and centres with the pictures",
}


def _better_reading(bodies: list[np.ndarray], masks: list[np.ndarray]) -> tuple[str, float] | None:
    """The mistake that explains the masks best, and the overlap that it gives."""
    readings = {
        _UPSIDE_DOWN: (bodies, [mask[::-1, ::-1] for mask in masks]),
        _MIRRORED: (bodies, [mask[:, ::-1] for mask in masks]),
        _BACKWARDS: (bodies, masks[::-1]),
        _SMALLER: ([_resized(body, 0.5) for body in bodies], masks),
        _LARGER: ([_resized(body, 2.0) for body in bodies], masks),
    }
    fits = {
        name: float(np.median([overlap(body, mask) for body, mask in zip(*pair, strict=True)]))
        for name, pair in readings.items()
    }
    name = max(fits, key=lambda key: fits[key])
    return name, fits[name]


def _shifted(
    frames: list[int], masks: list[np.ndarray], count: int, silhouette: Callable[[int], np.ndarray]
) -> tuple[str, float] | None:
    """The number of frames by which masks come early or late, and how well they fit then.

    Poses with large errors fit some other frames better by chance, but neither all of them nor as well as right poses.
    """
    fits = {}
    as_given = [overlap(silhouette(frame), mask) for frame, mask in zip(frames, masks, strict=True)]
    for shift in (sign * size for size in SHIFTS for sign in (1, -1)):
        rows = [row for row, frame in enumerate(frames) if 0 <= frame + shift < count]
        if 2 * len(rows) > len(frames):
            moved = [overlap(silhouette(frames[row] + shift), masks[row]) for row in rows]
            if all(new > as_given[row] for new, row in zip(moved, rows, strict=True)):
                fits[shift] = float(np.median(moved))
    if not fits:
        return None
    best = max(fits, key=lambda shift: fits[shift])
    # Masks are not early and late at once: the poses of these frames are wrong, and those of their neighbours are not.
    if fits[best] < _SURE_OVERLAP or -best in fits:
        return None
    return f"with the masks {abs(best)} frames {'earlier' if best < 0 else 'later'}", fits[best]


def _resized(body: Bool[np.ndarray, "rows columns"], factor: float) -> Bool[np.ndarray, "rows columns"]:
    """Scales the body about the upper left corner, as a camera for pictures of another size would draw it."""
    rows, columns = body.shape
    to = np.array([[factor, 0, 0], [0, factor, 0]], np.float64)
    return cv2.warpAffine(body.astype(np.uint8), to, (columns, rows), flags=cv2.INTER_NEAREST) > 0
