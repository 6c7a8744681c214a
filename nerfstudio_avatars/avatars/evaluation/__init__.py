"""Held-out figures: measuring, tables, and differences from the papers."""
