"""Reads HDF5 files safely: only arrays in the file itself, because the format can refer to other files and run code."""

from __future__ import annotations

from typing import Any

MOST_BYTES = 4_000_000_000
"""Of one array, unless less is said."""
_MOST_CHUNK_BYTES = 1_000_000_000
"""Of what is unpacked at a time."""
_FILTERS = frozenset({1, 2, 3, 4, 32000})
"""Deflate, shuffle, checksum, szip, LZF: those of HDF5 and h5py. Others would be loaded as plugins, which are code."""
NUMBERS = "iufb"


def own_dataset(file: Any, name: str, most: int = MOST_BYTES) -> Any:
    """Gets a dataset of numbers that is stored in the file itself.

    Args:
        file: of h5py, opened for reading.
        name: of the dataset, at the top.
        most: bytes that it may have.

    Raises:
        KeyError: if there is none.
        ValueError: if it leads out of the file, needs a plugin, holds something else than numbers, or is too large.
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
        raise ValueError(f"{name} is stored in other files, which are not read")
    made = found.id.get_create_plist()
    filters = {made.get_filter(place)[0] for place in range(made.get_nfilters())}
    if filters - _FILTERS:
        raise ValueError(f"{name} is packed by filter {min(filters - _FILTERS)}, a plugin, which is not loaded")
    if found.dtype.kind not in NUMBERS:
        raise ValueError(f"{name} holds {found.dtype}, not numbers")
    if found.shape is None:
        raise ValueError(f"{name} is empty")
    chunk = found.dtype.itemsize
    for size in found.chunks or ():
        chunk *= size
    for size, limit in ((found.nbytes, most), (chunk, _MOST_CHUNK_BYTES)):
        if size > limit:
            told = f"the limit is {limit / 1e9:.3g} GB"
            raise ValueError(f"{name} of shape {found.shape}, {size / 1e9:.3g} GB: {told}")
    return found
