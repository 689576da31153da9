"""Models as single files."""
