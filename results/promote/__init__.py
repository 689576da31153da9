"""`fersweep promote` and `champion`."""
