"""Body models that can be posed: SMPL from the user's files, and the stand-in that ships with the package."""
