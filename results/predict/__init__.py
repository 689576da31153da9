"""`fersweep predict`."""
