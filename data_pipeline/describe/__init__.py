"""`fersweep describe`: what a dataset holds."""
