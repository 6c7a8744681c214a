"""Drawn sequences: a clothed stand-in body in front of a camera, in the file formats of public data sets."""

from nerfstudio_avatars.demo.sequence import draw_demo_sequence
from nerfstudio_avatars.demo.surreal import draw_surreal_demo

__all__ = ["draw_demo_sequence", "draw_surreal_demo"]
