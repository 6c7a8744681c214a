"""The variants of an ablation: one change each, as options of ns-train."""

from __future__ import annotations

from dataclasses import dataclass

MODEL = "--pipeline.model."
_AVATAR = "--pipeline.model.avatar."
FIXED_POSES = (f"{MODEL}refine-poses", "False")
_BROYDEN = (f"{_AVATAR}articulation", "broyden")
_NEVER = str(10**9)
"""A step number that no training reaches."""

FULL = "full"
"""The variant that all others are compared with."""


@dataclass(frozen=True)
class Variant:
    """The method with one change."""

    name: str
    change: str
    """The change in words, for the table."""
    options: tuple[str, ...] = ()
    """The change as options of ns-train."""
    already: tuple[str, ...] = ()
    """Methods that the change makes no difference to, for which the variant is left out."""


VARIANTS = (
    Variant(FULL, "nothing: the registered method"),
    Variant(
        "no-space-skipping",
        "training samples the whole band around the template (so nothing is empty for the regulariser)",
        (f"{MODEL}occupancy-warmup", _NEVER),
    ),
    Variant("paper-grid", "the paper's one grid for all frames", (f"{_AVATAR}empty-space", "union")),
    Variant("no-regulariser", "no penalty on density in empty cells", (f"{MODEL}regulariser-weight", "0")),
    Variant(
        "no-hard-terms",
        "rays and samples may be half transparent",
        (f"{MODEL}hard-accumulation-weight", "0", f"{MODEL}hard-weights-weight", "0"),
    ),
    Variant("poses-fixed", "poses are not refined in training", FIXED_POSES),
    Variant("poses-refined", "poses are refined in training", (f"{MODEL}refine-poses", "True")),
    Variant("broyden-13", "the paper's search from 13 bones, in its own weight volume", _BROYDEN),
    Variant(
        "broyden-9",
        "the same search from Fast-SNARF's 9 bones",
        (*_BROYDEN, f"{_AVATAR}broyden-bones", *"0 1 2 4 5 16 17 18 19".split()),
    ),
    Variant(
        "broyden-13-64",
        "the same search from 13 bones, weight volume of 64x64x16 nodes instead of 128x128x32",
        (*_BROYDEN, f"{_AVATAR}paper-resolution", "16", "64", "64"),
    ),
    Variant("cells-15mm", "skinning cells of 15 mm", (f"{_AVATAR}cell-size", "0.015")),
    Variant("cells-20mm", "skinning cells of 20 mm", (f"{_AVATAR}cell-size", "0.02"), already=("instant-avatar",)),
    Variant("cells-30mm", "skinning cells of 30 mm", (f"{_AVATAR}cell-size", "0.03"), already=("instant-avatar-cpu",)),
    Variant("cells-60mm", "skinning cells of 60 mm", (f"{_AVATAR}cell-size", "0.06")),
)
