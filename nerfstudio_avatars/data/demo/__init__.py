"""The embedded sequence: a dressed stand-in body before a camera, in PeopleSnapshot's own on-disk format."""

from nerfstudio_avatars.data.demo.sequence import draw_demo_sequence

__all__ = ["draw_demo_sequence"]
