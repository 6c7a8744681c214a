"""The arrays that define an SMPL body, with checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nerfstudio_avatars.bodies.body_model import JOINT_PARENTS
from nerfstudio_avatars.errors import DataError

KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
BETAS = 10
_JOINTS = 24
_FIX = "download SMPL (smpl.is.tue.mpg.de, version 1.1.0) again, or use `--body standin`, which needs no file"
_SIBLINGS = {55: "SMPL-X", 52: "SMPL-H", 16: "MANO", 5: "FLAME"}


@dataclass(frozen=True)
class SmplArrays:
    """The fields of SMPL (in metres) as plain arrays in float32 and int64."""

    v_template: Float[ndarray, "vertices 3"]
    shapedirs: Float[ndarray, "vertices 3 10"]
    posedirs: Float[ndarray, "vertices 3 207"]
    J_regressor: Float[ndarray, "24 vertices"]
    weights: Float[ndarray, "vertices 24"]
    kintree_table: Int[ndarray, "2 24"]
    f: Int[ndarray, "faces 3"]

    @classmethod
    def checked(cls, fields: Mapping[str, Any], file: str | Path) -> SmplArrays:
        """Takes the fields of SMPL from the contents of a file.

        Raises:
            DataError: a field is missing, has another shape, is not finite, or belongs to another body model.
        """
        missing = [key for key in KEYS if key not in fields]
        if missing:
            found = f"no {', '.join(missing)}; it holds {', '.join(sorted(map(str, fields))) or 'nothing'}"
            raise DataError(file, found, f"the fields {', '.join(KEYS)}", _FIX)
        joints = np.shape(fields["weights"])[-1:]
        sibling = _SIBLINGS.get(joints[0] if joints else 0)
        if sibling:
            fix = "convert it to SMPL, give the SMPL file (`SMPL_NEUTRAL.pkl`), or use `--body standin`"
            raise DataError(file, f"a {sibling} model, with {joints[0]} joints", "an SMPL model, with 24 joints", fix)
        vertices = len(fields["v_template"]) if np.ndim(fields["v_template"]) else 0
        faces = len(fields["f"]) if np.ndim(fields["f"]) else 0
        shapes = {
            "v_template": (vertices, 3),
            "shapedirs": (vertices, 3, BETAS),
            "posedirs": (vertices, 3, 9 * (_JOINTS - 1)),
            "J_regressor": (_JOINTS, vertices),
            "weights": (vertices, _JOINTS),
            "kintree_table": (2, _JOINTS),
            "f": (faces, 3),
        }
        arrays = {}
        for key, shape in shapes.items():
            value = np.asarray(fields[key])
            # Files hold 10 or 300 shape directions, in order of importance.
            value = value[..., :BETAS] if key == "shapedirs" else value
            if value.shape != shape or not value.size:
                raise DataError(file, f"{key} of shape {value.shape}", f"{key} of shape {shape}", _FIX)
            if value.dtype.kind not in "fiu" or not np.isfinite(value).all():
                raise DataError(file, f"{key} ({value.dtype}) with NaN or infinite entries", "finite numbers", _FIX)
            arrays[key] = np.ascontiguousarray(value, np.int64 if key in ("kintree_table", "f") else np.float32)
        # The root's parent is stored as the largest unsigned integer.
        arrays["kintree_table"][0, 0] = -1
        _check_values(arrays, file)
        return cls(**arrays)


def _check_values(arrays: dict[str, ndarray], file: str | Path) -> None:
    tree = tuple(arrays["kintree_table"][0].tolist())
    if tree != JOINT_PARENTS:
        raise DataError(file, f"a kinematic tree with parents {tree}", f"SMPL's, {JOINT_PARENTS}", _FIX)
    corners = arrays["f"]
    vertices = len(arrays["v_template"])
    if corners.min() < 0 or corners.max() >= vertices:
        found = f"triangles with vertices {corners.min()} to {corners.max()}"
        raise DataError(file, found, f"vertices 0 to {vertices - 1}", _FIX)
    # SMPL's joint regressor was only encouraged to sum to one.
    for key, tolerance in (("weights", 0.01), ("J_regressor", 0.2)):
        sums = arrays[key].sum(1)
        if np.abs(sums - 1).max() > tolerance:
            raise DataError(file, f"{key} that sum to {sums.min():.3f} ... {sums.max():.3f}", "sums of one", _FIX)
