"""Loss terms of InstantAvatar."""
