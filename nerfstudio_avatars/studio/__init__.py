"""The studio in the viewer: what is shown, played and posed is plain state; widgets only change it."""
