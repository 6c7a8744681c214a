"""What a video shows, how sure that is, what keeps an avatar from being learnt, and how to film better."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from nerfstudio_avatars.process.body_landmarks import SeenBody
from nerfstudio_avatars.process.subject import Footage, turned_by

if TYPE_CHECKING:
    from nerfstudio_avatars.process.body_fit import FittedBody

LEAST_OVERLAP = 0.6
"""Intersection over union of body and mask below which a pose is doubtful."""
_FAR_BELOW = 0.1
"""Distance below the film's median overlap from which a pose is doubtful, or part of the person hidden."""
_WHOLE_TURN = 270.0
"""Smallest turn in degrees that shows the person from all sides."""
_LEAST_TURN = 90.0
"""Turn in degrees below which the back and at least one side are never seen."""
_LEAST_FIT = 0.5
"""Mean intersection over union below which the body is not the person's."""
_SEATED = 45.0
"""Angle in degrees between trunk and thighs above which the person does not stand."""
_VISIBLE = 0.5
_SHOULDERS, _HIPS, _KNEES, _ANKLES = (11, 12), (23, 24), (25, 26), (27, 28)
"""MediaPipe's landmarks, left and right."""
_HOW = (
    "Film one person who stands with their arms slightly away from the body and turns around once, slowly, before a "
    "camera that stands still: 10 to 20 seconds, from head to feet, in even light."
)


@dataclass(frozen=True)
class Findings:
    """What was found in a video."""

    told: list[str]
    """How well the person was found, and how sure that is."""
    obstacles: list[str] = field(default_factory=list)
    """Why no avatar can be learnt; empty if one can."""
    advice: list[str] = field(default_factory=list)
    """How to film better; empty if nothing has to be better."""

    @property
    def lines(self) -> list[str]:
        """All of them, to print."""
        return [*self.told, *self.obstacles, *self.advice]


def judge(footage: Footage, fitted: FittedBody) -> Findings:
    """Judges what was found in a video, before anything is learnt from it."""
    turn, overlap = turned_by(fitted), float(fitted.overlaps.mean())
    count = len(footage.numbers)
    least = max(LEAST_OVERLAP, float(np.median(fitted.overlaps)) - _FAR_BELOW)
    doubtful = [n for n, one in zip(footage.numbers, fitted.overlaps, strict=True) if one < least]
    sure = count - len(set(doubtful) | set(footage.cut_off))
    error = fitted.landmark_error
    near = "" if error is None else f"is within {error:.1f} pixels of the landmarks and "
    told = [
        f"The person turns by {turn:.0f} degrees. The body {near}covers {100 * overlap:.0f} % of the masks "
        f"(less than 100 because of clothes and hair). {sure} of {count} frames leave no doubt."
    ]
    if footage.empty:
        told.append(f"No person was found in these frames, which are left out: {_listed(footage.empty)}.")
    if doubtful:
        told.append(
            "The body does not fit the mask well in these frames, because its pose is wrong or something hides part "
            f"of it: {_listed(doubtful)}."
        )
    if footage.cut_off:
        told.append(f"The person reaches the border of the picture in these frames: {_listed(footage.cut_off)}.")

    company = [n for n, one in zip(footage.numbers, footage.seen, strict=True) if one.others]
    if company:
        told.append(
            f"There are other people in {len(company)} of {count} frames; one person was followed. Check in the sheet "
            "of bodies and masks that it is the right one; --person chooses, counted from the left in the first frame."
        )

    bend, below = _bend(footage.seen), float(np.mean([one.person[-1].any() for one in footage.seen]))
    # Of legs that the picture cuts off the network guesses some that sit.
    no_legs = _share_unseen(footage.seen, _KNEES) > 0.5 or (below > 0.5 and bend > _SEATED)
    no_feet = not no_legs and _share_unseen(footage.seen, _ANKLES) > 0.2
    obstacles, advice = [], []
    if no_legs:
        obstacles.append("The legs are not in the picture, so there is no whole person to learn.")
    elif bend > _SEATED:
        obstacles.append("The person sits or squats, so legs and back are hidden.")
    if turn < _LEAST_TURN:
        obstacles.append(f"The person turns by {turn:.0f} degrees only, so most of them is never seen.")
    if len(footage.empty) > count:
        obstacles.append(f"In {len(footage.empty)} of {count + len(footage.empty)} frames nobody was found.")
    if overlap < _LEAST_FIT:
        obstacles.append("The body fits the pictures too badly to learn from: is there one person, seen as a whole?")
    if obstacles:
        advice.append(_HOW)
        return Findings(told, obstacles, advice)
    if turn < _WHOLE_TURN:
        advice.append("Sides that the video does not show will be guessed. Film a whole turn to avoid this.")
    if no_feet:
        advice.append("The feet are not always in the picture and will be poor. Lower the camera, or step back.")
    elif footage.cut_off:
        advice.append("Film from farther away, so that the whole person stays in the picture.")
    if len(doubtful) > count // 4:
        advice.append(
            "Many poses are doubtful. Turn more slowly, in tight clothes, before a plain wall, with nothing in front "
            "of you."
        )
    return Findings(told, obstacles, advice)


def _share_unseen(seen: list[SeenBody], landmarks: tuple[int, int]) -> float:
    """Share of the frames in which both landmarks are outside the picture, or hidden."""
    return float(np.mean([not _in_sight(one)[list(landmarks)].any() for one in seen]))


def _in_sight(one: SeenBody) -> np.ndarray:
    height, width = one.mask.shape
    inside = ((one.points >= 0) & (one.points <= [width, height])).all(-1)
    return inside & (one.visibility > _VISIBLE)


def _bend(seen: list[SeenBody]) -> float:
    """Median angle in degrees by which the thighs leave the line of the trunk: 0 when standing, 90 on a chair."""
    places = np.stack([one.places for one in seen])
    middle = {name: places[:, list(pair)].mean(1) for name, pair in (("shoulders", _SHOULDERS), ("hips", _HIPS))}
    trunk = _unit(middle["hips"] - middle["shoulders"])
    thighs = _unit(places[:, list(_KNEES)] - places[:, list(_HIPS)])
    cosine = (thighs * trunk[:, None]).sum(-1).clip(-1, 1)
    return float(np.median(np.rad2deg(np.arccos(cosine)).min(1)))


def _unit(vectors: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-9)


def _listed(numbers: list[int], most: int = 12) -> str:
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return ", ".join(map(str, numbers[:most])) + more
