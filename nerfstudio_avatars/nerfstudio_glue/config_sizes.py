"""Sizes that a run's configuration may have: of what is built from a file that somebody sent, memory is taken.

Each limit alone, with all else as our methods have it, keeps what is built below some 4 GB. Who types an option on the
command line is not limited.
"""

from __future__ import annotations

_MOST_INTEGER = 10**9
"""Of numbers that no limit is known for."""
_MOST_VALUES = 64
"""Of a tuple."""

LIMITS: dict[str, tuple[float, float]] = {
    # The field of `instant-avatar`.
    "levels": (1, 32),
    "log2_table_size": (1, 24),
    "base_resolution": (1, 512),
    "per_level_scale": (1, 2.5),
    "width": (1, 1024),
    "geometry_features": (0, 1024),
    # Its canonical space, in metres, and its rays.
    "cell_size": (0.01, 1),
    "band": (0.001, 0.5),
    "bin_size": (0.005, 1),
    "step": (0.0005, 1),
    "max_samples": (1, 4096),
    "paper_resolution": (2, 256),
    "skinning_neighbours": (1, 64),
    "skinning_sweeps": (0, 1000),
    "frames_per_batch": (1, 1024),
    "rays_per_frame": (1, 1 << 18),
    "patch_size": (1, 1024),
    "mask_dilation": (0, 512),
    "edge_width": (0, 512),
    "eval_num_rays_per_chunk": (1, 1 << 22),
    # The networks of `unsup-volanim`.
    "parts": (1, 64),
    "points_per_edge": (1, 16),
    "code_size": (1, 4096),
    "widths": (1, 2048),
    "same_blocks": (0, 16),
    "attention_levels": (0, 3),
    "doublings": (0, 3),
    "input_size": (4, 256),
    "head": (1, 31),
    # Its pictures.
    "image_size": (8, 1024),
    "identities_per_batch": (1, 1024),
    "frames_per_identity": (1, 1024),
    "bootstrap_size": (4, 1024),
    "pixel_levels": (0, 12),
    "samples": (1, 1024),
    "eval_samples": (1, 1024),
    "chunk": (1, 1 << 26),
    "candidates": (1, 256),
    "trials": (0, 256),
    "hidden": (1, 4096),
    "corrections": (0, 16),
    "copies": (1, 64),
    "size": (0, 1024),
}
"""Least and most, by the name of the field; of each value, where a field has several."""
LENGTHS = {"widths": 7}
"""Most values of a field: each width doubles the edge of a cube."""


def wrong_size(place: str, value: float) -> str | None:
    """What a value should be that has no size of a configuration; None if it has.

    Args:
        place: the field, with those it lies in before it.
        value: a finite number.
    """
    limits = LIMITS.get(place.rpartition(".")[2])
    if limits is None:
        return "a smaller number" if isinstance(value, int) and abs(value) > _MOST_INTEGER else None
    least, most = limits
    return None if least <= value <= most else f"a number from {least:g} to {most:g}"


def too_many(place: str, count: int) -> str | None:
    """What a tuple should be that has too many values; None if it has not."""
    most = LENGTHS.get(place.rpartition(".")[2], _MOST_VALUES)
    return None if count <= most else f"at most {most} values"
