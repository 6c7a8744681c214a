"""Reading many clips of one kind of object and giving their frames to training."""
