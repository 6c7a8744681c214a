"""Reads frames of clips at the training size, decoded on demand and cached as memory allows."""

from __future__ import annotations

import os
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import RLock

import numpy as np
from jaxtyping import UInt8
from nerfstudio.utils.rich_utils import CONSOLE

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.media import picture_files
from nerfstudio_avatars.media.mask_files import NOISE, mask_of, read_mask
from nerfstudio_avatars.media.picture_files import Picture, listed_pictures
from nerfstudio_avatars.media.video_file import VIDEO_SUFFIXES, VideoFile, to_picture
from nerfstudio_avatars.unsup_volanim.data.clip_table import Clip, ClipTable
from nerfstudio_avatars.unsup_volanim.data.frame_cache import FrameCache
from nerfstudio_avatars.unsup_volanim.data.shards import FRAMES, Shard

_THREADS = min(8, os.cpu_count() or 1)
"""Number of clips to decode at a time."""
OPEN_VIDEOS = 16
"""Number of videos to keep open at the position last read."""
_LISTED_FOLDERS = 512
"""Number of folders whose listings are kept."""
_GIGABYTE = 1 << 30


Frame = tuple[UInt8[np.ndarray, "size size 3"], UInt8[np.ndarray, "size size"] | None]
"""RGB and, if there is one, the mask, at the training size."""


class ClipReader:
    """Random access to the frames of all clips. Safe to share between threads; copies share the cache.

    Args:
        table: the clips.
        size: side of the square frames, in pixels. Frames that are not square are cropped to their middle.
        cache_gb: memory for frames at that size, in gigabytes.
        quiet: do not say that frames are cropped.
    """

    def __init__(self, table: ClipTable, size: int, cache_gb: float = 1.0, quiet: bool = False) -> None:
        self.table, self.size, self._cache_gb, self._quiet = table, size, cache_gb, quiet
        self._forget()

    def read(self, clip: int, frame: int) -> Frame:
        """Reads a frame and its mask, if it has one. The arrays are shared and must not be written to.

        Raises:
            DataError: if the frame does not exist or cannot be decoded.
        """
        picture = self._cache.get(clip, frame) or self._decode(clip, frame)
        return picture.rgb, picture.mask

    def read_many(self, rows: Sequence[tuple[int, int]]) -> list[Frame]:
        """Reads frames given as (clip, frame), in that order; each clip is decoded once, several clips at a time."""
        frames_of_clip: dict[int, set[int]] = defaultdict(set)
        for clip, frame in rows:
            frames_of_clip[clip].add(frame)

        def read_one(clip: int) -> dict[tuple[int, int], Frame]:
            return {(clip, frame): self.read(clip, frame) for frame in sorted(frames_of_clip[clip])}

        found: dict[tuple[int, int], Frame] = {}
        if len(frames_of_clip) == 1:
            found = read_one(rows[0][0])
        else:
            with ThreadPoolExecutor(_THREADS) as threads:
                for part in threads.map(read_one, frames_of_clip):
                    found.update(part)
        return [found[clip, frame] for clip, frame in rows]

    def read_clip(self, clip: int) -> UInt8[np.ndarray, "frames size size 3"]:
        """Reads all frames of a clip."""
        return np.stack([self.read(clip, frame)[0] for frame in range(self.table[clip].frames)])

    def __deepcopy__(self, memo: dict) -> ClipReader:
        return self

    def __getstate__(self) -> dict:
        return {"table": self.table, "size": self.size, "_cache_gb": self._cache_gb, "_quiet": self._quiet}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._forget()

    def _forget(self) -> None:
        self._lock = RLock()
        self._cache = FrameCache(int(self._cache_gb * _GIGABYTE))
        self._videos: dict[str, VideoFile] = {}
        self._open: OrderedDict[str, VideoFile] = OrderedDict()
        self._shards: dict[str, Shard] = {}
        self._files: OrderedDict[str, list[Path]] = OrderedDict()
        self._cropping = self._quiet

    # Pictures ---------------------------------------------------------------------------------------------------------

    def _decode(self, clip: int, frame: int) -> Picture:
        one = self.table[clip]
        if not 0 <= frame < one.frames:
            raise DataError(one.path, f"no frame {frame}", f"frames 0 to {one.frames - 1}", "ask for one of them")
        path = Path(one.path)
        if path.suffix == FRAMES:
            # Not put into the cache: the system keeps what was read.
            return self._shard(one.path).picture(one.name, frame, self.size)
        if path.suffix.lower() not in VIDEO_SUFFIXES or path.is_dir():
            files = self._pictures(path)
            if len(files) != one.frames:
                found, expected = f"{len(files)} pictures", f"{one.frames}, as many as when the data was parsed"
                raise DataError(path, found, expected, "leave the data alone while it is in use; start again")
            picture = self._finish(one, frame, picture_files.read_picture(files[frame]))
            self._cache.put(clip, frame, picture)
            return picture
        video = self._video(one.path)
        with video.lock:
            for number, raw in video.walk_to(frame):
                # Frames on the way cost little more than they already have; but nothing is thrown away for them.
                if number == frame or self._cache.has_room(self.size * self.size * 4):
                    picture = self._cache.get(clip, number) or self._finish(one, number, to_picture(raw))
                    self._cache.put(clip, number, picture)
        return picture

    def _finish(self, clip: Clip, frame: int, picture: Picture) -> Picture:
        height, width = picture.rgb.shape[:2]
        if height != width and not self._cropping:
            self._cropping = True
            CONSOLE.print(
                f"{clip.path}: {width}x{height} pixels; pictures that are not square are cropped to their middle."
            )
        mask = self._mask(clip, frame) if clip.mask else None
        mask = picture.mask if mask is None else mask
        rgb = picture_files.squared(picture.rgb, self.size)
        return Picture(rgb, None if mask is None else picture_files.squared(mask, self.size))

    def _mask(self, clip: Clip, frame: int) -> UInt8[np.ndarray, "height width"] | None:
        assert clip.mask is not None
        path = Path(clip.mask)
        if path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir():
            video = self._video(clip.mask)
            with video.lock:
                picture = video.picture(frame)
            return picture.mask if picture.mask is not None else mask_of(picture.rgb, NOISE)
        file = self._mask_file(clip, path, frame)
        return None if file is None else read_mask(file)

    def _mask_file(self, clip: Clip, masks: Path, frame: int) -> Path | None:
        """Finds a mask by the name of the frame or, for videos, by number; by position if all frames have one."""
        files = self._pictures(masks)
        if len(files) == clip.frames:
            return files[frame]
        if Path(clip.path).is_dir():
            stem = self._pictures(Path(clip.path))[frame].stem
            return next((file for file in files if file.stem == stem), None)
        return next((file for file in files if file.stem.isdecimal() and int(file.stem) == frame), None)

    # Files ------------------------------------------------------------------------------------------------------------

    def _shard(self, path: str) -> Shard:
        with self._lock:
            if path not in self._shards:
                self._shards[path] = Shard(Path(path))
            return self._shards[path]

    def _video(self, path: str) -> VideoFile:
        with self._lock:
            video = self._videos.setdefault(path, VideoFile(Path(path)))
            self._open[path] = video
            self._open.move_to_end(path)
            if len(self._open) > OPEN_VIDEOS:
                self._open.popitem(last=False)[1].close()
            return video

    def _pictures(self, path: Path) -> list[Path]:
        key = str(path)
        with self._lock:
            if key not in self._files:
                if not path.exists():
                    raise DataError(path, "nothing", "a folder of pictures", "put it back, or start again without it")
                self._files[key] = listed_pictures(path) if path.is_dir() else [path]
                if len(self._files) > _LISTED_FOLDERS:
                    self._files.popitem(last=False)
            return self._files[key]
