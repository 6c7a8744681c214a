"""Image metrics in plain torch: what is measured, over which pixels and on which background is in every name."""
