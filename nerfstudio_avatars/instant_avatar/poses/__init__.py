"""The body poses of a video's frames: the table, smoothing, and refinement."""
