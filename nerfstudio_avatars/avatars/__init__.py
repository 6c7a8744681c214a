"""The library: what one can do with a trained avatar."""
