"""Tiny clips whose every frame shows its own number."""

from pathlib import Path

import av
import cv2
import numpy as np

SIZE = 64
BITS = 8


def numbered(frame, height=SIZE, width=SIZE, tint=0):
    """The number in white and black squares, four by two, on a border that does not matter."""
    bits = np.array([frame >> bit & 1 for bit in range(BITS)]).reshape(2, 4) * 220 + 16
    rows, columns = np.arange(height) * 2 // height, np.arange(width) * 4 // width
    picture = np.repeat(bits[rows][:, columns, None], 3, 2).astype(np.uint8)
    picture[..., 2] = np.maximum(picture[..., 2], tint)
    return picture


def number_of(rgb):
    """What `numbered` wrote, after any compression and scaling."""
    height, width = rgb.shape[:2]
    centres = rgb[height // 4 :: height // 2, width // 8 :: width // 4, 0][:2, :4]
    return sum(int(value > 128) << bit for bit, value in enumerate(centres.flatten()))


def write_video(
    path: Path,
    frames=20,
    codec="libx264",
    size=SIZE,
    options=None,
    times=None,
    pix_fmt="yuv420p",
    container_options=None,
):
    """Encodes numbered frames; `times` of each in hundredths of a second make the rate vary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=100 if times else 25)
        stream.width = stream.height = size
        stream.pix_fmt = pix_fmt
        stream.options = options if options is not None else {"g": "12", "bf": "3", "crf": "10", "sc_threshold": "0"}
        for frame in range(frames):
            picture = av.VideoFrame.from_ndarray(numbered(frame, size, size), format="rgb24")
            if times:
                picture.pts = times[frame]
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def write_folder(path: Path, frames=20, size=SIZE, name="{:07d}.png"):
    """Numbered frames as pictures."""
    path.mkdir(parents=True, exist_ok=True)
    for frame in range(frames):
        cv2.imwrite(str(path / name.format(frame)), numbered(frame, size, size))
    return path


def write_mask(path: Path, share=0.5, size=SIZE):
    """The left part of the picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((size, size), np.uint8)
    mask[:, : int(size * share)] = 255
    cv2.imwrite(str(path), mask)
    return path
