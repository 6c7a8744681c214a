"""The single camera of `unsup-volanim`: it sees every picture, and only the object moves."""

from __future__ import annotations

import math

FIELD_OF_VIEW = 0.175
"""Field of view of the square picture from edge to edge, in radians."""
FOCAL = 1 / math.tan(FIELD_OF_VIEW / 2)
"""Focal length in half pictures."""
DISTANCE, REACH = 10.5, 1.0
"""Distance of the middle of the object, and extent of the scene in front of it and behind, along the camera axis."""
SCENE = ((DISTANCE + REACH) / FOCAL, (DISTANCE + REACH) / FOCAL, REACH)
"""Half extents of the scene, as the camera sees it at its far end."""
