"""Folders on disk, read for nerfstudio."""
