"""Phones' HDR videos as sRGB: HLG and PQ (ITU-R BT.2100) tone-mapped, wide primaries (BT.2020, P3) brought to BT.709's.

What a screen of standard range can show keeps its colours: SDR white is BT.2408's reference white, 203 cd/m2. Only
highlights are compressed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
from jaxtyping import Float, UInt8, UInt16

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_PQ, _HLG = 16, 18
"""Transfer characteristics, as ITU-T H.273 numbers them."""
_BT2020, _DISPLAY_P3 = 9, 12
"""Primaries, as ITU-T H.273 numbers them."""
_WHITE = 203.0
"""Luminance of SDR white in cd/m2 (BT.2408)."""
_HLG_PEAK, _HLG_GAMMA = 1000.0, 1.2
"""Peak luminance in cd/m2 of the display that HLG is graded on, and its system gamma."""
_KNEE = 0.85
"""Share of SDR white above which highlights are compressed."""
_PEAK = 10_000.0 / _WHITE
_LEVELS = 1 << 16
_XYZ = {
    "bt709": ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    "bt2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    "p3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
"""Chromaticities of red, green and blue; white is D65 for all."""
_D65 = (0.3127, 0.3290)


def is_wide(frame: VideoFrame) -> bool:
    """Whether a frame is HDR, or has primaries that reach beyond BT.709's."""
    return _code(frame, "color_trc") in (_PQ, _HLG) or _code(frame, "color_primaries") in (_BT2020, _DISPLAY_P3)


def to_srgb(frame: VideoFrame) -> UInt8[np.ndarray, "height width 3"]:
    """A wide frame as sRGB."""
    coded: UInt16[np.ndarray, "height width 3"] = frame.to_ndarray(format="rgb48le")
    transfer, primaries = _code(frame, "color_trc"), _code(frame, "color_primaries")
    linear = _linear_table(transfer)[coded]
    if transfer == _HLG:
        # The system gamma acts on luminance, so that it keeps the hue (BT.2100).
        luminance = cv2.transform(linear, np.array([_luminance()], np.float32))
        linear *= (cv2.pow(np.maximum(luminance, 1e-6), _HLG_GAMMA - 1) * (_HLG_PEAK / _WHITE))[..., None]
    named = {_BT2020: "bt2020", _DISPLAY_P3: "p3"}.get(primaries, "bt2020" if transfer in (_PQ, _HLG) else "bt709")
    linear = cv2.transform(linear, _between(named).astype(np.float32))
    np.maximum(linear, 0, out=linear)
    brightest = linear.max(-1, keepdims=True)
    # All three channels by one factor: highlights keep their hue.
    linear *= _compressed(brightest) / np.maximum(brightest, 1e-9)
    return _srgb_table()[(linear.clip(0, 1) * (_LEVELS - 1) + 0.5).astype(np.uint16)]


def _code(frame: VideoFrame, name: str) -> int:
    value = getattr(frame, name, None)
    return 2 if value is None else int(value)


def _compressed(value: Float[np.ndarray, "height width 1"]) -> Float[np.ndarray, "height width 1"]:
    """Unchanged up to the knee, then bent so that no light, however bright, reaches beyond white."""
    over = np.maximum(value - _KNEE, 0)
    room = 1 - _KNEE
    # Reinhard's curve above the knee; its slope at the knee is one, and the brightest that can be coded becomes white.
    most = _PEAK - _KNEE
    return np.where(value > _KNEE, _KNEE + over * room / (over * (1 - room / most) + room), value)


@lru_cache
def _linear_table(transfer: int) -> Float[np.ndarray, " levels"]:
    """Coded 16-bit value -> light: in units of SDR white, or for HLG the scene's, 0 to 1."""
    x = np.arange(_LEVELS) / (_LEVELS - 1)
    if transfer == _PQ:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = x ** (1 / m2)
        return (10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1) / _WHITE).astype(np.float32)
    if transfer == _HLG:
        a = 0.17883277
        b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
        return np.where(x <= 0.5, x**2 / 3, (np.exp((x - c) / a) + b) / 12).astype(np.float32)
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4).astype(np.float32)


@lru_cache
def _srgb_table() -> UInt8[np.ndarray, " levels"]:
    x = np.arange(_LEVELS) / (_LEVELS - 1)
    return np.rint(255 * np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)).astype(np.uint8)


def _to_xyz(primaries: str) -> Float[np.ndarray, "3 3"]:
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in _XYZ[primaries]]).T
    x, y = _D65
    return columns * np.linalg.solve(columns, [x / y, 1, (1 - x - y) / y])


@lru_cache
def _between(primaries: str) -> Float[np.ndarray, "3 3"]:
    """Linear colours of some primaries -> those of BT.709."""
    return np.linalg.solve(_to_xyz("bt709"), _to_xyz(primaries))


def _luminance() -> list[float]:
    return _to_xyz("bt2020")[1].tolist()
