"""What nerfstudio asks for rays and pictures."""
