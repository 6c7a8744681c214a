"""What files and folders hold, for `ns-avatar inspect`: one module for each kind of thing."""
