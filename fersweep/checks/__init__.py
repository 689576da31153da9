"""`fersweep check`: try somebody's own code before it is used, and say in words what to mend."""
