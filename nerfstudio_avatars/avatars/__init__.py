"""The library: everything that can be done with a trained avatar."""
