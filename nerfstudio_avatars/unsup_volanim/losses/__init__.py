"""Loss terms of Unsupervised Volumetric Animation."""
