"""Motions to make an avatar move: the ones that ship with the package, and motion files."""

from nerfstudio_avatars.data.motion.motion_file import load_motion, shipped_motions

__all__ = ["load_motion", "shipped_motions"]
