"""Somebody's own code: collected, copied with its sha256, and run from the copy alone."""
