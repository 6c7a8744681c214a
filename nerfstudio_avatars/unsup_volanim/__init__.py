"""Unsupervised Volumetric Animation (Siarohin et al. 2023): moving one kind of object, learnt from many clips."""
