"""Writes a video of one person as a subject in InstantAvatar's preprocessed layout."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.bodies.smpl_body import SmplBody
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import write_npz
from nerfstudio_avatars.instant_avatar.data.snapshot_splits import HELD_OUT_EVERY, held_out_split
from nerfstudio_avatars.media.picture_files import listed_pictures, read_picture, write_png
from nerfstudio_avatars.media.video_file import VIDEO_SUFFIXES, VideoFile
from nerfstudio_avatars.media.video_index import probe_video
from nerfstudio_avatars.process import framing
from nerfstudio_avatars.process.body_fit import BodyFit, FittedBody
from nerfstudio_avatars.process.body_landmarks import LANDMARKS, PERSON, BodyLandmarks, Place, SeenBody
from nerfstudio_avatars.process.framing import Framing
from nerfstudio_avatars.process.given_masks import GivenMasks
from nerfstudio_avatars.process.given_poses import GivenPoses, landmarks_of
from nerfstudio_avatars.process.mask_edges import follow_edges
from nerfstudio_avatars.process.still_background import StillBackground
from nerfstudio_avatars.whole_files import whole_folder

_FEWEST = 8
"""Smallest number of frames with a person for a video of a turn."""
PHONES_VIEW = 60.0
"""Field of view in degrees along the longer side of a phone's main camera, where the search for the lens starts."""
_LOOKED_AT = 1080
"""Length in pixels of the longer side at which a whole picture is searched for the person."""
_AROUND, _GREY = 0.1, 128
"""Margin around a given mask in which networks look, as a share of its longer side, and what they see elsewhere."""
_BACKGROUNDS = 2
"""How often the background is found: better masks show more of it."""
Progress = Callable[[str, int, int], None]
"""Called with the current task, how much of it is done, and its total."""


@dataclass(frozen=True)
class Footage:
    """The frames of a video that show a person."""

    numbers: list[int]
    """Numbers of the frames in the video."""
    pictures: list[UInt8[np.ndarray, "height width 3"]]
    seen: list[SeenBody]
    empty: list[int]
    """Numbers of frames in which nobody was found."""
    fps: float
    """Frame rate of the frames taken."""
    framing: Framing
    """The part of the filmed pictures that `pictures` and `seen` show."""

    @property
    def cut_off(self) -> list[int]:
        """Numbers of frames in which the person reaches the border of the filmed picture."""
        seen = zip(self.numbers, self.seen, strict=True)
        return [number for number, one in seen if self.framing.cuts_off(one)]


def look_at(
    video: Path,
    frames: int,
    seconds: tuple[float, float | None],
    size: int,
    progress: Progress | None = None,
    masks: GivenMasks | None = None,
    poses: GivenPoses | None = None,
    person: int | None = None,
) -> Footage:
    """Takes evenly spaced frames from a video or a folder of pictures, finds the person, and keeps what is around them.

    One of several people is followed from frame to frame. Networks look for what is not given. Of frames without a
    given mask or pose, none is taken.

    Args:
        video: a video file, which is turned upright as its metadata say, or a folder of pictures.
        frames: the number of frames to take.
        seconds: start and end; None is the end of the video. Pictures in a folder count as 30 per second.
        size: the maximum length of the longer side of what is kept, in pixels.
        progress: called with what is done.
        masks: of the person.
        poses: of the person. With masks and poses, the landmarks of what is seen are not visible.
        person: whom to follow, counted from the left in the first frame that shows people, from 1; None is the largest.

    Raises:
        DataError: it is not a video, is too short, or shows nobody, or not as many people.
        RuntimeMissing: without `ai-edge-litert`, unless masks and poses are given.
    """
    count, fps = length_of(video)
    first = round(seconds[0] * fps)
    last = count - 1 if seconds[1] is None else min(round(seconds[1] * fps), count - 1)
    if not 0 <= first < last:
        length = f"{count / fps:.1f} s; --start {seconds[0]:g} and --end {seconds[1] or count / fps:g} leave nothing"
        raise DataError(video, length, "moments within the video", "choose --start and --end within it")
    known = [
        number
        for number in range(first, last + 1)
        if (masks is None or number in masks.files) and (poses is None or number in poses.rows)
    ]
    if masks or poses:
        _enough(video, len(known), last + 1 - first, "masks and poses for")
    wanted = [known[index] for index in np.unique(np.linspace(0, len(known) - 1, frames).round().astype(int))]
    networks = None if masks and poses else BodyLandmarks()
    find = _Finder(None if networks is None else networks.detect, masks)
    looked_at, first_look, place = None, [], None
    for done, (number, picture) in enumerate(zip(wanted, pictures_of(video, wanted), strict=True)):
        looked_at = looked_at or framing.whole(picture.shape[0], picture.shape[1], _LOOKED_AT)
        if picture.shape[:2] != looked_at.filmed:
            raise DataError(video, "pictures of several sizes", "one size", "keep pictures of one camera only")
        if networks and person and place is None:
            place = _chosen(video, number, networks.people(looked_at.cut(picture)), person, looked_at)
        seen = find(number, picture, looked_at, place)[1]
        place = place if seen is None else looked_at.filmed_place(_middle(seen))
        first_look.append((number, seen, place))
        if progress:
            progress("Looking for the person", done + 1, len(wanted))
    there = {number: (one, place) for number, one, place in first_look if one is not None}
    _enough(video, len(there), len(wanted))
    assert looked_at is not None
    window = framing.around([one for one, _ in there.values()], looked_at, size)
    found: list[tuple[int, np.ndarray, SeenBody]] = []
    numbers = list(there)
    for done, (number, picture) in enumerate(zip(numbers, pictures_of(video, numbers), strict=True)):
        framed, seen = find(number, picture, window, there[number][1])
        seen = None if seen is None else replace(seen, others=there[number][0].others)
        if seen is not None:
            seen = seen if masks else replace(seen, mask=follow_edges(seen.mask, framed))
            found.append((number, framed, seen))
        if progress:
            progress("Looking closer", done + 1, len(numbers))
    _enough(video, len(found), len(wanted))
    if not masks:
        found = _before_still_background(found)
    empty = sorted(set(wanted) - {number for number, _, _ in found})
    rate = fps * (len(wanted) - 1) / max(wanted[-1] - wanted[0], 1)
    kept = ([one[0] for one in found], [one[1] for one in found], [one[2] for one in found])
    return Footage(*kept, empty, rate, window)


def _before_still_background(
    found: list[tuple[int, np.ndarray, SeenBody]],
) -> list[tuple[int, np.ndarray, SeenBody]]:
    """What was found, with masks corrected by what is behind the person, as far as the camera stands still."""
    for _ in range(_BACKGROUNDS):
        pictures, masks = [picture for _, picture, _ in found], [seen.mask for _, _, seen in found]
        behind = StillBackground.behind(pictures, masks)
        if behind is None:
            return found
        found = [(number, one, replace(seen, mask=behind.correct(seen.mask, one))) for number, one, seen in found]
    return found


@dataclass(frozen=True)
class _Finder:
    """Sees the person in a part of a picture, with networks, given masks, or both."""

    detect: Callable[[np.ndarray, Place | None], SeenBody | None] | None
    """Finds landmarks and a mask in a picture, near a place; None if nothing else than the given masks is needed."""
    masks: GivenMasks | None

    def __call__(
        self, number: int, picture: np.ndarray, part: Framing, place: Place | None
    ) -> tuple[np.ndarray, SeenBody | None]:
        """What is kept of a picture, and the person in it, who is near a place in the filmed picture."""
        kept = part.cut(picture)
        if self.masks is None:
            assert self.detect is not None
            return kept, self.detect(kept, None if place is None else part.kept_place(place))
        whole_mask = self.masks.of(number, *picture.shape[:2])
        mask = None if whole_mask is None else part.cut(whole_mask)
        if mask is None or not (mask >= PERSON).any():
            return kept, None
        if self.detect is None:
            return kept, SeenBody(np.zeros((LANDMARKS, 2)), np.zeros(LANDMARKS), np.zeros((LANDMARKS, 3)), mask)
        # Whoever else is in the picture must not be looked at.
        seen = self.detect(_only_around(kept, mask >= PERSON), None)
        return kept, None if seen is None else replace(seen, mask=mask)


def _chosen(video: Path, number: int, people: list[Place], person: int, looked_at: Framing) -> Place | None:
    """Where one of the people in a frame is, in the filmed picture; None if there is nobody."""
    if not people:
        return None
    if person > len(people):
        fix = f"choose --person 1 to {len(people)}, or --start where all are in sight, apart from one another"
        raise DataError(video, f"{len(people)} people in frame {number}", f"--person {person} of them", fix)
    return looked_at.filmed_place(people[person - 1])


def _middle(seen: SeenBody) -> Place:
    return np.argwhere(seen.person).mean(0)[::-1] + 0.5


def _only_around(picture: np.ndarray, person: np.ndarray) -> np.ndarray:
    """The picture around a person, and grey elsewhere."""
    rows, columns = (np.flatnonzero(person.any(axis)) for axis in (1, 0))
    margin = round(_AROUND * max(rows[-1] - rows[0], columns[-1] - columns[0]))
    window = tuple(slice(max(at[0] - margin, 0), at[-1] + 1 + margin) for at in (rows, columns))
    alone = np.full_like(picture, _GREY)
    alone[window] = picture[window]
    return alone


def _enough(video: Path, found: int, looked_at: int, what: str = "a person in") -> None:
    if found < _FEWEST:
        told = f"{what} {found} of {looked_at} frames"
        fix = "film one person, from head to feet, who turns around slowly; or choose --start and --end"
        raise DataError(video, told, f"at least {_FEWEST}", fix)


def turned_by(fitted: FittedBody) -> float:
    """The turn that the person shows the camera, in degrees: 360 minus the largest gap between directions."""
    facing = axis_angle_to_matrix(fitted.motion.global_orient)[:, :, 2]
    angles = torch.atan2(facing[:, 0], facing[:, 2]).sort().values
    gaps = torch.cat([angles.diff(), angles[:1] + 2 * torch.pi - angles[-1:]])
    return float(360 - gaps.max().rad2deg())


def fit(
    footage: Footage, body: SmplBody, field_of_view: float | None, progress: Progress | None = None
) -> tuple[FittedBody, float]:
    """Fits the body in all frames, in camera axes.

    Args:
        footage: what is seen.
        body: the body to fit.
        field_of_view: along the longer side of the filmed pictures, in degrees; None finds it from how the body looks
            from all sides.
        progress: called with what is done.

    Returns:
        The body, and the field of view.
    """
    guess = field_of_view or PHONES_VIEW
    camera = footage.framing.camera_matrix(guess)
    report = None if progress is None else lambda done, of: progress("Fitting the body", done, of)
    fit = BodyFit(body, footage.seen, camera, find_lens=field_of_view is None, pictures=footage.pictures)
    fitted = fit.run(report)
    half = math.atan(math.tan(math.radians(guess) / 2) / fitted.zoom)
    return replace(fitted, motion=replace(fitted.motion, fps=footage.fps)), 2 * math.degrees(half)


def fit_given(
    footage: Footage, poses: GivenPoses, body: SmplBody, field_of_view: float
) -> tuple[Footage, FittedBody, str]:
    """Takes the bodies from given poses.

    Returns:
        The footage with landmarks where the bodies have them, the bodies in camera axes, and whose places they have.
    """
    camera = footage.framing.camera_matrix(field_of_view)
    fitted, told = poses.fitted(footage.numbers, [one.person for one in footage.seen], body, camera)
    seen = landmarks_of(fitted, [one.mask for one in footage.seen], body, camera)
    fitted = replace(fitted, motion=replace(fitted.motion, fps=footage.fps))
    return replace(footage, seen=seen), fitted, told


def write_subject(
    folder: Path, footage: Footage, fitted: FittedBody, field_of_view: float, beside: Callable[[Path], None]
) -> None:
    """Writes images/, masks/, cameras.npz, poses.npz and splits.json; the folder appears once it is complete.

    Args:
        folder: does not exist yet.
        footage: what is seen.
        fitted: the body in it, in camera axes.
        field_of_view: along the longer side of the filmed pictures, in degrees.
        beside: given the unfinished folder, writes what else belongs there.

    Raises:
        DataError: the folder exists already, or cannot be written.
    """
    if folder.exists():
        raise DataError(folder, "a folder or file", "a new name", "remove it, or choose another --output")
    with whole_folder(folder) as partial:
        for name in ("images", "masks"):
            (partial / name).mkdir(parents=True)
        for index, (picture, seen) in enumerate(zip(footage.pictures, footage.seen, strict=True)):
            write_png(partial / "images" / f"image_{index:04d}.png", picture)
            write_png(partial / "masks" / f"mask_{index:04d}.png", seen.mask)
        height, width = footage.framing.kept
        camera = footage.framing.camera_matrix(field_of_view)
        camera[:2, 2] -= 0.5  # OpenCV's, whose first pixel's centre is at zero.
        write_npz(partial / "cameras.npz", intrinsic=camera, extrinsic=np.eye(4), height=height, width=width)
        fitted.motion.save(partial / "poses.npz")
        splits = held_out_split(len(footage.pictures), HELD_OUT_EVERY)
        notes = {**splits, "gender": fitted.motion.gender, "body": fitted.motion.body, "frames": footage.numbers}
        window = footage.framing
        notes |= {"filmed": window.filmed, "window": [window.top, window.left, window.height, window.width]}
        (partial / "splits.json").write_text(json.dumps(notes), "utf8")
        beside(partial)


def length_of(video: Path) -> tuple[int, float]:
    """Number of frames, and frames per second; pictures in a folder count as 30.

    Raises:
        DataError: it is neither a video nor a folder of pictures.
    """
    if video.is_dir():
        return len(listed_pictures(video)), 30.0
    if not video.is_file() or video.suffix.lower() not in VIDEO_SUFFIXES:
        found = "no such file or folder" if not video.exists() else f"a file of type {video.suffix or '(none)'}"
        expected = f"a video ({', '.join(sorted(VIDEO_SUFFIXES))}) or a folder of pictures"
        raise DataError(video, found, expected, "give the video itself, or convert it: ffmpeg -i IN out.mp4")
    facts = probe_video(video)
    return facts.frames, facts.fps


def pictures_of(video: Path, wanted: list[int]) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Frames by their numbers, which rise."""
    if video.is_dir():
        files = listed_pictures(video)
        yield from (read_picture(files[number]).rgb for number in wanted)
        return
    yield from (picture.rgb for picture in VideoFile(video).pictures(wanted))
