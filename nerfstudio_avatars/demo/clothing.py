"""Clothes, hair and face of the demo person: thickness over the body and colour, as functions of the T-pose.

Positions are those of the stand-in body (metres, y up, facing +z, the pelvis at y = -0.23). Colours are computed point
by point, so patterns stay sharp at any resolution.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from nerfstudio_avatars.kernels import njit

_WAIST = -0.10
_NECKLINE = 0.262
_SLEEVE_END = 0.60
_ANKLE = -1.13
CHIN = 0.315
_HAIRLINE = 0.497
_EYES = 0.437
_SKIN = (0.84, 0.63, 0.52)
_CREAM, _RED, _BLUE, _NAVY = (0.95, 0.91, 0.82), (0.77, 0.13, 0.15), (0.16, 0.27, 0.60), (0.17, 0.24, 0.45)
_GOLD, _GREEN, _YELLOW, _BLACK, _WHITE = (
    (0.80, 0.62, 0.22),
    (0.10, 0.42, 0.25),
    (0.95, 0.83, 0.20),
    (0.09,) * 3,
    (0.93,) * 3,
)
HAIR, _BROWN = (0.23, 0.14, 0.09), (0.35, 0.22, 0.12)
_LIPS = (0.70, 0.30, 0.30)


@njit(cache=True, nogil=True, inline="always")
def _stripes(x, period, share):
    return (x / period) % 1.0 < share


@njit(cache=True, nogil=True)
def _is_hair(x, y, z):
    if y < CHIN + 0.03 or abs(x) > 0.13:
        return False
    if y > _HAIRLINE + 0.006 * math.sin(160 * x):
        return True
    return z < 0.052 + 0.35 * max(0.0, y - 0.44) and y > 0.335


@njit(cache=True, nogil=True)
def _face(x, y, z):
    side = abs(x)
    dx, dy = side - 0.031, y - _EYES
    if (dx / 0.0145) ** 2 + (dy / 0.0078) ** 2 < 1 and z > 0.09:
        distance = math.sqrt(dx * dx + dy * dy)
        if distance < 0.0030:
            return _BLACK
        if distance < 0.0065:
            return _BROWN
        return _WHITE
    if (dx / 0.0165) ** 2 + (dy / 0.0098) ** 2 < 1 and z > 0.09:
        return HAIR
    arch = y - (_EYES + 0.021 - 12.0 * (side - 0.030) ** 2)
    if abs(arch) < 0.0038 and 0.011 < side < 0.049 and z > 0.09:
        return HAIR
    mouth = y - 0.366 - 2.0 * x * x
    if abs(mouth) < 0.0085 * math.sqrt(max(0.0, 1 - (side / 0.027) ** 2)) and z > 0.10:
        return (0.42, 0.13, 0.14) if abs(mouth) < 0.0016 else _LIPS
    if abs(y - 0.391) < 0.004 and abs(side - 0.009) < 0.004 and z > 0.14:
        return (0.50, 0.30, 0.25)
    cheek = math.exp(-((side - 0.045) ** 2 + (y - 0.395) ** 2) / 0.0006)
    return (_SKIN[0] + 0.05 * cheek, _SKIN[1] - 0.07 * cheek, _SKIN[2] - 0.05 * cheek)


@njit(cache=True, nogil=True)
def _leg(x, y, z):
    side = abs(x)
    if y > _WAIST - 0.035:
        if side < 0.022 and z > 0 and abs(y - (_WAIST - 0.017)) < 0.013:
            return _GOLD
        return _BLACK
    if y < _ANKLE:
        if y < -1.226:
            return _WHITE
        if z > 0.06 and y > -1.20 and _stripes(z, 0.022, 0.35) and abs(side - 0.145) < 0.022:
            return _WHITE
        return _BLACK
    outer = side - (0.152 + 0.030 * min(1.0, max(0.0, (y + 0.72) / 0.4)))
    if outer > 0.012 and abs(z - 0.012) < 0.013:
        return _GOLD
    if z < -0.03 and y > -0.36 and 0.035 < side < 0.135 and y < -0.24:
        rim = min(side - 0.035, 0.135 - side, y + 0.36, -0.24 - y)
        return _GOLD if rim < 0.005 else (0.22, 0.30, 0.53)
    angle = math.atan2(z - 0.02, side - 0.13)
    if _stripes(y, 0.036, 0.5) != _stripes(angle, math.pi / 6, 0.5):
        return _NAVY
    return (0.22, 0.31, 0.54)


@njit(cache=True, nogil=True)
def _shirt(x, y, z):
    if abs(x) > 0.205:
        if abs(x) > _SLEEVE_END - 0.018:
            return _NAVY
        return _BLUE if _stripes(abs(x), 0.046, 0.5) else _CREAM
    if z > 0.03:
        dx, dy = x, y - 0.115
        if abs(dx) < 0.058 and abs(dy) < 0.058:
            distance = math.sqrt(dx * dx + dy * dy)
            if distance < 0.014:
                return _GREEN
            if distance < 0.030:
                return _YELLOW
            if distance < 0.046:
                return _GREEN
            return _WHITE
    elif abs(x) < 0.080 and abs(y - 0.125) < 0.048:
        return _YELLOW if _stripes(x + 1, 0.04, 0.5) != _stripes(y + 1 - 0.005, 0.032, 0.5) else _BLACK
    return _RED if _stripes(y + 1, 0.042, 0.55) else _CREAM


@njit(cache=True, nogil=True)
def colour(x: float, y: float, z: float) -> tuple[float, float, float]:
    """Colour of a point on the dressed person in T-pose; nothing is blended, so edges are sharp."""
    if abs(x) > _SLEEVE_END or y > _NECKLINE + 0.055 * max(0.0, 1 - (abs(x) / 0.10) ** 2) * (1.0 if z < 0.02 else 0.25):
        if _is_hair(x, y, z):
            strand = 0.05 * math.sin(420 * x + 130 * z) + 0.03 * math.sin(900 * x)
            return (HAIR[0] + strand, HAIR[1] + 0.7 * strand, HAIR[2] + 0.5 * strand)
        if y > CHIN and abs(x) < 0.2:
            return _face(x, y, z)
        if abs(x) > 0.868:
            return (0.80, 0.55, 0.45)
        return _SKIN
    if y < _WAIST:
        return _leg(x, y, z)
    return _shirt(x, y, z)


def _ramp(x: np.ndarray, start: float, end: float) -> np.ndarray:
    share = np.clip((x - start) / (end - start), 0, 1)
    return share * share * (3 - 2 * share)


def thickness(rest: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, " vertices"]:
    """Distance of clothes and hair from the skin in T-pose, in metres (0 to 2.2 cm), with folds."""
    x, y, z = rest.T
    side = np.abs(x)
    folds = 0.5 + 0.25 * np.sin(38 * y + 9 * np.sin(14 * x) + 6 * z) + 0.25 * np.sin(55 * z - 21 * y + 17 * x)
    sleeve = _ramp(side, _SLEEVE_END + 0.015, _SLEEVE_END - 0.015)
    shirt = sleeve * _ramp(y, _WAIST - 0.02, _WAIST + 0.02) * _ramp(y, _NECKLINE + 0.03, _NECKLINE - 0.02)
    trousers = _ramp(y, _WAIST + 0.01, _WAIST - 0.02) * _ramp(y, _ANKLE - 0.01, _ANKLE + 0.03)
    inner_leg = 1 - 0.7 * _ramp(side, 0.10, 0.04)
    shoes = _ramp(y, _ANKLE + 0.01, _ANKLE - 0.02)
    hair = np.array([_is_hair(*p) for p in rest.tolist()], float)
    return (
        shirt * (0.006 + 0.014 * folds)
        + trousers * inner_leg * (0.005 + 0.013 * folds)
        + shoes * 0.009
        + hair * (0.012 + 0.006 * np.sin(90 * x) * np.sin(70 * y))
    )
