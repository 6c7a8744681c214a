"""Trainer, pipelines and optimizers of nerfstudio, adapted to both methods."""
