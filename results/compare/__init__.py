"""`fersweep compare`."""
