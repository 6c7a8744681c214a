"""Marches rays through a posed avatar, skips empty space, and composites the samples."""
