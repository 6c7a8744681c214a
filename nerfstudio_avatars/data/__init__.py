"""Files on disk -> cameras, images, mattes and body motion."""
