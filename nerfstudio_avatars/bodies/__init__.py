"""Bodies that can be posed: the protocol, SMPL from the user's files, and the stand-in that ships with the package."""
