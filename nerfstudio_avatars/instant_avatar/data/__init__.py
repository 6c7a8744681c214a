"""Reads subjects (PeopleSnapshot, SURREAL, or your own) and supplies their rays to training."""
