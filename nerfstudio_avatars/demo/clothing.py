"""Clothes, hair and face of a drawn person: thickness over the body and colour, as functions of the T-pose.

Positions are those of the stand-in body (metres, y up, facing +z, the pelvis at y = -0.23). Colours are computed point
by point, so patterns stay sharp at any resolution. What a person wears is a `Wardrobe`.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from nerfstudio_avatars.demo.wardrobe import (
    BACK_A,
    BACK_B,
    BADGE_A,
    BADGE_B,
    BADGE_C,
    BELT,
    BROW,
    BUCKLE,
    CHECKS,
    CUFF,
    HAIR,
    HAIRLINE,
    IRIS,
    LACES,
    LEG_A,
    LEG_B,
    LEG_END,
    LEG_PATTERN,
    LIPS,
    NAPE,
    PERIOD,
    PLAIN,
    POCKET,
    SEAM,
    SHIRT_A,
    SHIRT_B,
    SHIRT_PATTERN,
    SHOES,
    SKIN,
    SLEEVE_A,
    SLEEVE_B,
    SLEEVE_END,
    UPRIGHT_STRIPES,
    Wardrobe,
)
from nerfstudio_avatars.kernels import njit

_WAIST = -0.10
_NECKLINE = 0.262
_ANKLE = -1.13
_CHIN = 0.315
_EYES = 0.437
_BLACK, _WHITE = (0.09,) * 3, (0.93,) * 3


@njit(cache=True, nogil=True, inline="always")
def _of(palette, role):
    return (palette[role, 0], palette[role, 1], palette[role, 2])


@njit(cache=True, nogil=True, inline="always")
def _stripes(x, period, share):
    return (x / period) % 1.0 < share


@njit(cache=True, nogil=True)
def _is_hair(x, y, z, cut):
    if y < cut[NAPE] or abs(x) > 0.13:
        return False
    if y > cut[HAIRLINE] + 0.006 * math.sin(160 * x):
        return True
    return z < 0.052 + 0.35 * max(0.0, y - 0.44)


@njit(cache=True, nogil=True)
def _face(x, y, z, palette):
    side = abs(x)
    dx, dy = side - 0.031, y - _EYES
    if (dx / 0.0145) ** 2 + (dy / 0.0078) ** 2 < 1 and z > 0.09:
        distance = math.sqrt(dx * dx + dy * dy)
        if distance < 0.0030:
            return _BLACK
        if distance < 0.0065:
            return _of(palette, IRIS)
        return _WHITE
    if (dx / 0.0165) ** 2 + (dy / 0.0098) ** 2 < 1 and z > 0.09:
        return _of(palette, BROW)
    arch = y - (_EYES + 0.021 - 12.0 * (side - 0.030) ** 2)
    if abs(arch) < 0.0038 and 0.011 < side < 0.049 and z > 0.09:
        return _of(palette, BROW)
    mouth = y - 0.366 - 2.0 * x * x
    if abs(mouth) < 0.0085 * math.sqrt(max(0.0, 1 - (side / 0.027) ** 2)) and z > 0.10:
        return (0.42, 0.13, 0.14) if abs(mouth) < 0.0016 else _of(palette, LIPS)
    if abs(y - 0.391) < 0.004 and abs(side - 0.009) < 0.004 and z > 0.14:
        return (0.50, 0.30, 0.25)
    skin = _of(palette, SKIN)
    cheek = math.exp(-((side - 0.045) ** 2 + (y - 0.395) ** 2) / 0.0006)
    return (skin[0] + 0.05 * cheek, skin[1] - 0.07 * cheek, skin[2] - 0.05 * cheek)


@njit(cache=True, nogil=True)
def _leg(x, y, z, palette, cut):
    side = abs(x)
    if y > _WAIST - 0.035:
        if side < 0.022 and z > 0 and abs(y - (_WAIST - 0.017)) < 0.013:
            return _of(palette, BUCKLE)
        return _of(palette, BELT)
    if y < _ANKLE:
        if y < -1.226:
            return _of(palette, LACES)
        if z > 0.06 and y > -1.20 and _stripes(z, 0.022, 0.35) and abs(side - 0.145) < 0.022:
            return _of(palette, LACES)
        return _of(palette, SHOES)
    if y < cut[LEG_END]:
        return _of(palette, SKIN)
    outer = side - (0.152 + 0.030 * min(1.0, max(0.0, (y + 0.72) / 0.4)))
    if outer > 0.012 and abs(z - 0.012) < 0.013:
        return _of(palette, SEAM)
    if z < -0.03 and y > -0.36 and 0.035 < side < 0.135 and y < -0.24:
        rim = min(side - 0.035, 0.135 - side, y + 0.36, -0.24 - y)
        return _of(palette, SEAM) if rim < 0.005 else _of(palette, POCKET)
    angle = math.atan2(z - 0.02, side - 0.13)
    along, around = _stripes(y, 0.036, 0.5), _stripes(angle, math.pi / 6, 0.5)
    if _second(cut[LEG_PATTERN], along, around):
        return _of(palette, LEG_A)
    return _of(palette, LEG_B)


@njit(cache=True, nogil=True, inline="always")
def _second(pattern, along, around):
    """Whether a pattern of two colours takes its other one, given whether stripes along and around the body do."""
    if pattern == PLAIN:
        return False
    if pattern == CHECKS:
        return along != around
    return around if pattern == UPRIGHT_STRIPES else along


@njit(cache=True, nogil=True)
def _shirt(x, y, z, palette, cut):
    if abs(x) > 0.205:
        if abs(x) > cut[SLEEVE_END] - 0.018:
            return _of(palette, CUFF)
        return _of(palette, SLEEVE_A) if _stripes(abs(x), 0.046, 0.5) else _of(palette, SLEEVE_B)
    if z > 0.03:
        dx, dy = x, y - 0.115
        if abs(dx) < 0.058 and abs(dy) < 0.058:
            distance = math.sqrt(dx * dx + dy * dy)
            if distance < 0.014:
                return _of(palette, BADGE_A)
            if distance < 0.030:
                return _of(palette, BADGE_B)
            if distance < 0.046:
                return _of(palette, BADGE_A)
            return _of(palette, BADGE_C)
    elif abs(x) < 0.080 and abs(y - 0.125) < 0.048:
        odd = _stripes(x + 1, 0.04, 0.5) != _stripes(y + 1 - 0.005, 0.032, 0.5)
        return _of(palette, BACK_A) if odd else _of(palette, BACK_B)
    along, around = _stripes(y + 1, cut[PERIOD], 0.55), _stripes(x + 1, cut[PERIOD], 0.5)
    return _of(palette, SHIRT_A) if _second(cut[SHIRT_PATTERN], along, around) else _of(palette, SHIRT_B)


@njit(cache=True, nogil=True)
def colour(
    x: float, y: float, z: float, palette: Float[np.ndarray, "roles 3"], cut: Float[np.ndarray, " cuts"]
) -> tuple[float, float, float]:
    """Colour of a point on the dressed person in T-pose; nothing is blended, so edges are sharp.

    Args:
        x: to the person's left, in metres, as y (up) and z (forwards).
        palette: a wardrobe's colours.
        cut: its lengths and patterns.
    """
    over = 0.055 * max(0.0, 1 - (abs(x) / 0.10) ** 2) * (1.0 if z < 0.02 else 0.25)
    if abs(x) > cut[SLEEVE_END] or y > _NECKLINE + over:
        if _is_hair(x, y, z, cut):
            strand = 0.05 * math.sin(420 * x + 130 * z) + 0.03 * math.sin(900 * x)
            hair = _of(palette, HAIR)
            return (hair[0] + strand, hair[1] + 0.7 * strand, hair[2] + 0.5 * strand)
        if y > _CHIN and abs(x) < 0.2:
            return _face(x, y, z, palette)
        skin = _of(palette, SKIN)
        if abs(x) > 0.868:
            return (skin[0] - 0.04, skin[1] - 0.08, skin[2] - 0.07)
        return skin
    if y < _WAIST:
        return _leg(x, y, z, palette, cut)
    return _shirt(x, y, z, palette, cut)


def _ramp(x: np.ndarray, start: float, end: float) -> np.ndarray:
    share = np.clip((x - start) / (end - start), 0, 1)
    return share * share * (3 - 2 * share)


def thickness(rest: Float[np.ndarray, "vertices 3"], wardrobe: Wardrobe) -> Float[np.ndarray, " vertices"]:
    """Distance of clothes and hair from the skin in T-pose, in metres (0 to 2.2 cm), with folds."""
    sleeve_end, leg_end = wardrobe.cut[SLEEVE_END], wardrobe.cut[LEG_END]
    x, y, z = rest.T
    side = np.abs(x)
    folds = 0.5 + 0.25 * np.sin(38 * y + 9 * np.sin(14 * x) + 6 * z) + 0.25 * np.sin(55 * z - 21 * y + 17 * x)
    sleeve = _ramp(side, sleeve_end + 0.015, sleeve_end - 0.015)
    shirt = sleeve * _ramp(y, _WAIST - 0.02, _WAIST + 0.02) * _ramp(y, _NECKLINE + 0.03, _NECKLINE - 0.02)
    trousers = _ramp(y, _WAIST + 0.01, _WAIST - 0.02) * _ramp(y, leg_end - 0.01, leg_end + 0.03)
    inner_leg = 1 - 0.7 * _ramp(side, 0.10, 0.04)
    shoes = _ramp(y, _ANKLE + 0.01, _ANKLE - 0.02)
    hair = np.array([_is_hair(*point, wardrobe.cut) for point in rest.tolist()], float)
    return (
        shirt * (0.006 + 0.014 * folds)
        + trousers * inner_leg * (0.005 + 0.013 * folds)
        + shoes * 0.009
        + hair * (0.012 + 0.006 * np.sin(90 * x) * np.sin(70 * y))
    )
