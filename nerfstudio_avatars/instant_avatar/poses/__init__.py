"""The body poses of a video's frames: the table, its smoothing, its corrections."""
