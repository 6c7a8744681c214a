"""Loss terms, one idea a file."""
