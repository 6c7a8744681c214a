"""Held-out figures: protocols, measuring, what differs from the papers, tables."""
