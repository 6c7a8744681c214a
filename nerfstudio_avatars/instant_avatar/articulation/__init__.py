"""Fast-SNARF: finding the canonical location of a posed point."""
