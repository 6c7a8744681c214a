"""Pictures, masks and videos, in and out."""
