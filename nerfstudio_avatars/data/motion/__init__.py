"""Motions to make an avatar move: the ones that ship with the package, and motion files."""

from nerfstudio_avatars.data.motion.motion import MotionFile
from nerfstudio_avatars.data.motion.motion_file import load_motion, shipped_motions, upright
from nerfstudio_avatars.data.motion.readers import read_motion

__all__ = ["MotionFile", "load_motion", "read_motion", "shipped_motions", "upright"]
