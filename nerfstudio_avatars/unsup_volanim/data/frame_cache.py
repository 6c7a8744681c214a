"""A cache of frames in memory, limited to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from nerfstudio_avatars.media.picture_files import Picture


class FrameCache:
    """A least-recently-used cache of frames by (clip, frame), safe to share between threads."""

    def __init__(self, limit: int) -> None:
        self._limit, self._size, self._lock = limit, 0, Lock()
        self._frames: OrderedDict[tuple[int, int], Picture] = OrderedDict()

    def __len__(self) -> int:
        return len(self._frames)

    def get(self, clip: int, frame: int) -> Picture | None:
        """The frame, if it is cached."""
        with self._lock:
            found = self._frames.get((clip, frame))
            if found is not None:
                self._frames.move_to_end((clip, frame))
            return found

    def has_room(self, size: int) -> bool:
        """Whether this many bytes fit without dropping other frames."""
        return self._size + size <= self._limit

    def put(self, clip: int, frame: int, picture: Picture) -> None:
        """Caches a frame, dropping others if necessary."""
        with self._lock:
            if (clip, frame) in self._frames or _bytes(picture) > self._limit:
                return
            self._frames[clip, frame] = picture
            self._size += _bytes(picture)
            while self._size > self._limit:
                self._size -= _bytes(self._frames.popitem(last=False)[1])


def _bytes(picture: Picture) -> int:
    return picture.rgb.nbytes + (picture.mask.nbytes if picture.mask is not None else 0)
