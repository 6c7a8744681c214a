"""HDF5 files from elsewhere: their own arrays only. The format can read any other file, and code, on being opened."""

from __future__ import annotations

from typing import Any

MOST_BYTES = 4_000_000_000
"""Of one array, unless less is said."""
MOST_CHUNK_BYTES = 1_000_000_000
"""Of what is unpacked at a time."""
FILTERS = frozenset({1, 2, 3, 4, 32000})
"""Deflate, shuffle, checksum, szip, LZF: those of HDF5 and h5py. Others are looked for as plugins, which are code."""
NUMBERS = "iufb"


def own_dataset(file: Any, name: str, most: int = MOST_BYTES) -> Any:
    """A dataset of numbers that lies in the file itself.

    Args:
        file: of h5py, opened for reading.
        name: of the dataset, at the top.
        most: bytes that it may have.

    Raises:
        KeyError: there is none.
        ValueError: it leads out of the file, needs a plugin, holds something else than numbers, or is too large.
    """
    import h5py

    link = file.get(name, getlink=True)
    if link is None:
        raise KeyError(f"no {name!r}; there are {', '.join(sorted(file))[:200] or 'none'}")
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name} is a link to somewhere else, which is not followed")
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{name} is a {type(found).__name__.lower()}, not an array")
    if found.is_virtual or found.external:
        raise ValueError(f"{name} lies in other files, which are not read")
    made = found.id.get_create_plist()
    filters = {made.get_filter(place)[0] for place in range(made.get_nfilters())}
    if filters - FILTERS:
        raise ValueError(f"{name} is packed by filter {min(filters - FILTERS)}, a plugin, which is not loaded")
    if found.dtype.kind not in NUMBERS:
        raise ValueError(f"{name} holds {found.dtype}, not numbers")
    if found.shape is None:
        raise ValueError(f"{name} is empty")
    chunk = found.dtype.itemsize
    for size in found.chunks or ():
        chunk *= size
    for size, limit in ((found.nbytes, most), (chunk, MOST_CHUNK_BYTES)):
        if size > limit:
            told = f"the limit is {limit / 1e9:.3g} GB"
            raise ValueError(f"{name} of shape {found.shape}, {size / 1e9:.3g} GB: {told}")
    return found
