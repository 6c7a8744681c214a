"""nerfstudio's trainer, pipelines and optimizers, fitted to both methods."""
