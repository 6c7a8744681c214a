"""Motions to make an avatar move: the ones that ship with the package, and motion files."""

from nerfstudio_avatars.motion.loading import in_world, load_motion, shipped_motions
from nerfstudio_avatars.motion.motion_file import MotionFile
from nerfstudio_avatars.motion.readers import read_motion

__all__ = ["MotionFile", "load_motion", "read_motion", "shipped_motions", "in_world"]
