"""MediaPipe and the geometry of one face."""
