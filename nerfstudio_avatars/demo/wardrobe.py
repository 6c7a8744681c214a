"""What drawn people wear: colours by role, lengths and patterns, so that no two of them look alike."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

# Rows of a palette. Kernels read them as constants.
SKIN, LIPS, IRIS, HAIR, BROW = 0, 1, 2, 3, 4
SHIRT_A, SHIRT_B, SLEEVE_A, SLEEVE_B, CUFF = 5, 6, 7, 8, 9
BADGE_A, BADGE_B, BADGE_C, BACK_A, BACK_B = 10, 11, 12, 13, 14
LEG_A, LEG_B, SEAM, POCKET = 15, 16, 17, 18
BELT, BUCKLE, SHOES, LACES = 19, 20, 21, 22

# Places in a cut.
SLEEVE_END, LEG_END, HAIRLINE, NAPE, PERIOD, SHIRT_PATTERN, LEG_PATTERN = 0, 1, 2, 3, 4, 5, 6

# Patterns.
PLAIN, _STRIPES, UPRIGHT_STRIPES, CHECKS = 0, 1, 2, 3

_BLACK, _WHITE, _CREAM = (0.09,) * 3, (0.93,) * 3, (0.95, 0.91, 0.82)
_NAVY, _GOLD, _GREEN, _YELLOW = (0.17, 0.24, 0.45), (0.80, 0.62, 0.22), (0.10, 0.42, 0.25), (0.95, 0.83, 0.20)
_BROWN = (0.23, 0.14, 0.09)
_SKINS = np.array([[0.90, 0.72, 0.62], [0.84, 0.63, 0.52], [0.72, 0.51, 0.38], [0.55, 0.36, 0.25], [0.36, 0.23, 0.16]])
_HAIRS = np.array([[0.10, 0.08, 0.07], _BROWN, [0.42, 0.26, 0.13], [0.72, 0.54, 0.28], [0.55, 0.20, 0.09], [0.62] * 3])
_IRISES = np.array([[0.35, 0.22, 0.12], [0.25, 0.40, 0.55], [0.30, 0.42, 0.25], [0.20, 0.13, 0.08]])


@dataclass(frozen=True)
class Wardrobe:
    """The clothes, hair and colours of one person."""

    palette: Float[np.ndarray, "23 3"]
    """RGB from 0 to 1 of every role, such as `SKIN`."""
    cut: Float[np.ndarray, "7"]
    """Where sleeves, trouser legs, forehead and hair end on the body in T-pose, in metres; the width of the shirt's
    stripes, in metres; and the patterns of shirt and trousers."""


CASUAL = Wardrobe(
    palette=np.array(
        [
            (0.84, 0.63, 0.52), (0.70, 0.30, 0.30), (0.35, 0.22, 0.12), _BROWN, _BROWN,
            (0.77, 0.13, 0.15), _CREAM, (0.16, 0.27, 0.60), _CREAM, _NAVY,
            _GREEN, _YELLOW, _WHITE, _YELLOW, _BLACK,
            _NAVY, (0.22, 0.31, 0.54), _GOLD, (0.22, 0.30, 0.53),
            _BLACK, _GOLD, _BLACK, _WHITE,
        ]
    ),
    cut=np.array([0.60, -1.13, 0.497, 0.345, 0.042, _STRIPES, CHECKS]),
)  # fmt: skip
"""What the demo's person wears."""


def drawn_wardrobe(rng: np.random.Generator) -> Wardrobe:
    """Clothes of anybody: skin, hair, lengths of sleeves and trousers, patterns, and colours that suit one another."""
    skin = np.clip(_SKINS[rng.integers(len(_SKINS))] + rng.uniform(-0.03, 0.03), 0.1, 0.95)
    hair = np.clip(_HAIRS[rng.integers(len(_HAIRS))] * rng.uniform(0.8, 1.15), 0.05, 0.9)
    shirt, legs, spot = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0, 1)
    bright, dark = rng.uniform(0.6, 0.95), rng.uniform(0.25, 0.6)
    main, other = _colour_of(shirt, 0.75, bright), _colour_of(shirt + 0.08, rng.uniform(0.05, 0.5), 0.93)
    sleeve = _colour_of(shirt + rng.choice([0.0, 0.33, 0.5]), 0.65, rng.uniform(0.4, 0.9))
    badge, shoes = _colour_of(spot, 0.8, 0.5), _colour_of(rng.uniform(0, 1), rng.uniform(0, 0.7), rng.uniform(0.1, 0.8))
    leg = _colour_of(legs, rng.uniform(0.2, 0.6), dark)
    seam = _colour_of(spot + 0.4, 0.7, 0.8)
    palette = np.array(
        [
            skin, np.clip(skin * (0.9, 0.55, 0.6), 0, 1), _IRISES[rng.integers(len(_IRISES))], hair, hair * 0.8,
            main, other, sleeve, other, _colour_of(shirt + 0.5, 0.5, 0.4),
            badge, _colour_of(spot + 0.25, 0.8, 0.95), _WHITE, _colour_of(spot + 0.5, 0.7, 0.9), _BLACK,
            leg, np.clip(leg * 1.45 + 0.03, 0, 1), seam, np.clip(leg * 1.25, 0, 1),
            _BLACK, _GOLD, shoes, _WHITE if rng.uniform() < 0.7 else _BLACK,
        ]
    )  # fmt: skip
    cut = np.array([
        rng.choice([0.34, 0.46, 0.60, 0.72]), rng.choice([-1.13, -1.13, -0.95, -0.62]), rng.uniform(0.48, 0.515),
        rng.uniform(0.30, 0.42), rng.uniform(0.024, 0.07), rng.integers(4), rng.integers(4),
    ])  # fmt: skip
    return Wardrobe(palette, cut)


def _colour_of(hue: float, saturation: float, value: float) -> Float[np.ndarray, "3"]:
    """RGB of a hue, whose whole turn is 1."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))
