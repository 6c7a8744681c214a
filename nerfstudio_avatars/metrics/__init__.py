"""Image metrics in plain torch. Each name says what is measured, over which pixels, and on which background."""
