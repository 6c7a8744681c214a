"""The single camera of `unsup-volanim`: it sees every picture, and only the object moves."""

from __future__ import annotations

import math

FIELD_OF_VIEW = 0.175
"""Of the square picture from edge to edge, radians."""
FOCAL = 1 / math.tan(FIELD_OF_VIEW / 2)
"""In half pictures."""
DISTANCE, REACH = 10.5, 1.0
"""The object's middle, and how far before and behind it the scene goes, along the camera's axis."""
SCENE = ((DISTANCE + REACH) / FOCAL, (DISTANCE + REACH) / FOCAL, REACH)
"""Half extents of the scene: what the camera sees at its far end."""
