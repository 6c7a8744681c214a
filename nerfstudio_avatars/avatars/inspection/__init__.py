"""The contents of files and folders, for `ns-avatar inspect`: one module for each kind."""
