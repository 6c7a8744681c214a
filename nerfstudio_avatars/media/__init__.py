"""Reads and writes pictures, masks and videos."""
