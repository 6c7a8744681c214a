"""Finds out what on this machine is fast, slow or missing for these methods, and how to mend it.

>>> from nerfstudio_avatars.doctor import Finding, can_train
>>> can_train([Finding("ffmpeg", "missing", "no program", "pip install imageio-ffmpeg")])
True
"""

from nerfstudio_avatars.doctor.examination import examine
from nerfstudio_avatars.doctor.finding import Finding, can_train

__all__ = ["Finding", "can_train", "examine"]
