"""The embedded sequences: a dressed stand-in body before a camera, in other data sets' own on-disk formats."""

from nerfstudio_avatars.demo.sequence import draw_demo_sequence
from nerfstudio_avatars.demo.surreal import draw_surreal_demo

__all__ = ["draw_demo_sequence", "draw_surreal_demo"]
