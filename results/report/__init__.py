"""`fersweep report`: a sweep on one page."""
