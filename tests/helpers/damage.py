"""Ways to damage a file, and what reading it may cost."""

import io
import os
import pickle
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from nerfstudio_avatars.errors import UserError

SLOWEST = 20
"""Seconds of the processor; whoever waits for a pipe never gets so far."""
MOST_MEMORY = 1 << 30
"""Bytes that reading a small file may add."""


def _cut(share):
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def _noise_at(seed):
    def spoil(path):
        content, draw = bytearray(path.read_bytes()), np.random.default_rng(seed)
        for place in draw.integers(0, len(content), 40):
            content[place] = draw.integers(256)
        path.write_bytes(bytes(content))

    return spoil


def _npy():
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


def _pipe(path):
    path.unlink()
    os.mkfifo(path)


def _device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def _folder(path):
    path.unlink()
    path.mkdir()


def _loop(path):
    path.unlink()
    path.symlink_to(path.name)


BYTES = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut to a fifth": _cut(0.2),
    "cut in the middle": _cut(0.5),
    "cut at the end": _cut(0.97),
    "all noise": lambda path: path.write_bytes(np.random.default_rng(0).bytes(2000)),
    "noise in places": _noise_at(1),
    "noise in other places": _noise_at(2),
    "zeros": lambda path: path.write_bytes(bytes(2000)),
    "text": lambda path: path.write_text("not what you expect\n" * 20),
    "a web page": lambda path: path.write_text("<!DOCTYPE html><html></html>"),
    "a Git LFS pointer": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    "a pipe": _pipe,
    "a device": _device,
    "a folder": _folder,
    "a loop of links": _loop,
    "another kind of array": lambda path: path.write_bytes(_npy()),
    "a pickle": lambda path: path.write_bytes(pickle.dumps({"a": 1})),
}
"""Done to any file."""
SHORT = {name: BYTES[name] for name in ("missing", "empty", "cut in the middle", "noise in places", "text", "a pipe")}
"""The same for readers that share their way to a file with another."""
VALUES = {
    "NaN": lambda value: np.full(np.shape(value), np.nan),
    "infinity": lambda value: np.full(np.shape(value), np.inf),
    "huge": lambda value: np.full(np.shape(value), 1e30),
    "negative": lambda value: -np.abs(np.asarray(value, float)) - 1,
    "zero": lambda value: np.zeros(np.shape(value)),
    "a scalar": lambda value: np.float64(1.0),
    "nothing": lambda value: np.zeros((0, 3)),
    "one axis more": lambda value: np.asarray(value)[None, None],
    "text": lambda value: np.array("five"),
    "complex": lambda value: np.full(np.shape(value), 1j),
    "much": lambda value: np.zeros((1, 7, 5)),
}
"""Done to any array."""


def change_npz(path, name, change):
    """Changes one array of an npz; None leaves it out."""
    with np.load(path) as file:
        fields = {key: file[key] for key in file.files}
    value = change(fields.pop(name))
    np.savez(path, **fields, **({} if value is None else {name: value}))


@contextmanager
def bounded():
    """What is done within ends soon and takes little memory."""
    before, begun = _resident(), time.process_time()
    _forget_peak()
    yield
    assert time.process_time() - begun < SLOWEST, "took too long"
    assert _resident(peak=True) - before < MOST_MEMORY, "took more than 1 GB"


def told(error: UserError) -> str:
    """A message that a user can make use of."""
    message = str(error)
    assert len(message) > 20 and "Traceback" not in message and "MemoryError" not in message, message
    assert "weights_only" not in message and "allow_pickle" not in message, message
    return message


def _resident(peak=False) -> int:
    """Bytes of memory of this process, now or at most since `_forget_peak`; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    name = "VmHWM:" if peak else "VmRSS:"
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(name)) * 1024


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return
