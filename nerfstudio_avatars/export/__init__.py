"""Takes people out of the program: the portable file, meshes with a skeleton, and pages."""

PORTABLE = ".avatar"
"""The ending of portable avatars."""
