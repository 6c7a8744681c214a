"""Kernels that lay splats over one another, nearest first, and their gradients. Specified in `tests/helpers`."""

from __future__ import annotations

import numpy as np
from numba import prange

from nerfstudio_avatars.kernels import njit

REACH = 8.0
"""Squared standard deviations at which a splat ends."""
FAINTEST = 0.5 / 255
"""Opacity below which nothing is drawn."""
_MOST_OPAQUE = 0.99
_DARKEST = 1e-4
"""Transmittance at which nothing behind is seen."""
_BANDS = 8
"""Bands of rows that are drawn at the same time; each splat has a gradient in each."""


@njit(parallel=True, cache=True, nogil=True, fastmath=True)
def compose(order, places, reach, conics, colours, opacities, picture, last):
    """Fills a picture (height, width, 4) with colours and transmittance, and says which splat in the order was last."""
    height, width = last.shape
    for band in prange(_BANDS):
        first_row, end_row = band * height // _BANDS, (band + 1) * height // _BANDS
        picture[first_row:end_row, :, :3] = 0
        picture[first_row:end_row, :, 3] = 1
        last[first_row:end_row] = -1
        for number in range(len(order)):
            n = order[number]
            x, y = places[n, 0], places[n, 1]
            top, bottom = (
                max(first_row, int(np.ceil(y - reach[n, 1]))),
                min(end_row - 1, int(np.floor(y + reach[n, 1]))),
            )
            left, right = max(0, int(np.ceil(x - reach[n, 0]))), min(width - 1, int(np.floor(x + reach[n, 0])))
            a, b, c, opacity = conics[n, 0], conics[n, 1], conics[n, 2], opacities[n]
            for row in range(top, bottom + 1):
                down = row - y
                for column in range(left, right + 1):
                    along = column - x
                    distance = a * along * along + 2 * b * along * down + c * down * down
                    light = picture[row, column, 3]
                    if distance > REACH or light < _DARKEST:
                        continue
                    alpha = min(np.float32(_MOST_OPAQUE), opacity * np.exp(np.float32(-0.5) * distance))
                    if alpha < FAINTEST:
                        continue
                    share = light * alpha
                    picture[row, column, 0] += share * colours[n, 0]
                    picture[row, column, 1] += share * colours[n, 1]
                    picture[row, column, 2] += share * colours[n, 2]
                    picture[row, column, 3] = light - share
                    last[row, column] = number


@njit(parallel=True, cache=True, nogil=True, fastmath=True)
def gradients(order, places, reach, conics, colours, opacities, picture, last, wanted):
    """Gradients of every splat: its place (2), conic (3), colour (3) and opacity, as (splats, 9).

    `wanted` (height, width, 4) is the gradient to the colours and to the transmittance.
    """
    height, width = last.shape
    found = np.zeros((_BANDS, len(places), 9), np.float32)
    for band in prange(_BANDS):
        first_row, end_row = band * height // _BANDS, (band + 1) * height // _BANDS
        # What lies behind the present splat, as far as the gradient is concerned, and the light before it.
        behind = np.zeros((end_row - first_row, width), np.float32)
        lights = picture[first_row:end_row, :, 3].copy()
        for number in range(len(order) - 1, -1, -1):
            n = order[number]
            x, y = places[n, 0], places[n, 1]
            top, bottom = (
                max(first_row, int(np.ceil(y - reach[n, 1]))),
                min(end_row - 1, int(np.floor(y + reach[n, 1]))),
            )
            left, right = max(0, int(np.ceil(x - reach[n, 0]))), min(width - 1, int(np.floor(x + reach[n, 0])))
            a, b, c, opacity = conics[n, 0], conics[n, 1], conics[n, 2], opacities[n]
            red, green, blue = colours[n, 0], colours[n, 1], colours[n, 2]
            to_x = to_y = to_a = to_b = to_c = to_red = to_green = to_blue = to_opacity = np.float32(0)
            for row in range(top, bottom + 1):
                down = row - y
                for column in range(left, right + 1):
                    if number > last[row, column]:
                        continue
                    along = column - x
                    distance = a * along * along + 2 * b * along * down + c * down * down
                    if distance > REACH:
                        continue
                    falloff = np.exp(np.float32(-0.5) * distance)
                    alpha = opacity * falloff
                    if alpha < FAINTEST:
                        continue
                    clamped = alpha > _MOST_OPAQUE
                    alpha = min(alpha, np.float32(_MOST_OPAQUE))
                    passed = 1 - alpha
                    light = lights[row - first_row, column] / passed
                    lights[row - first_row, column] = light
                    share = light * alpha
                    want_red, want_green, want_blue = (
                        wanted[row, column, 0],
                        wanted[row, column, 1],
                        wanted[row, column, 2],
                    )
                    colour = want_red * red + want_green * green + want_blue * blue
                    # The transmittance of the pixel falls as that of the colours behind does.
                    hidden = behind[row - first_row, column] + wanted[row, column, 3] * picture[row, column, 3]
                    to_alpha = colour * light - hidden / passed
                    behind[row - first_row, column] += share * colour
                    to_red += share * want_red
                    to_green += share * want_green
                    to_blue += share * want_blue
                    if not clamped:
                        to_opacity += to_alpha * falloff
                        to_distance = np.float32(-0.5) * alpha * to_alpha
                        to_a += to_distance * along * along
                        to_b += to_distance * 2 * along * down
                        to_c += to_distance * down * down
                        to_x -= to_distance * 2 * (a * along + b * down)
                        to_y -= to_distance * 2 * (b * along + c * down)
            if top <= bottom:
                row_of = found[band, n]
                row_of[0], row_of[1], row_of[2], row_of[3], row_of[4] = to_x, to_y, to_a, to_b, to_c
                row_of[5], row_of[6], row_of[7], row_of[8] = to_red, to_green, to_blue, to_opacity
    return found.sum(0)
