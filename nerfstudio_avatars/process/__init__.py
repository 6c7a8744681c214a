"""A phone's video becomes a subject to learn from."""
