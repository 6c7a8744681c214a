"""Fast-SNARF: where a posed point lies in canonical space."""
