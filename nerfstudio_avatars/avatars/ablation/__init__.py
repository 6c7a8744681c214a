"""Ablations of the method: variants, training them, and the table of results."""
