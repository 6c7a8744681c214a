"""Marching rays through a posed avatar, skipping empty space, and summing what they see."""
