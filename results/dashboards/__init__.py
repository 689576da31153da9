"""`fersweep status` and `fersweep ui`."""
