"""Reads many clips of one class of objects and supplies their frames to training."""
