"""Unsupervised Volumetric Animation (Siarohin et al. 2023): animates a class of objects, learnt from many clips."""
