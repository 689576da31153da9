"""What to try and what to stop; no Ray."""
