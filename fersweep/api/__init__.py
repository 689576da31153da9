"""The Python API, whose names `fersweep` loads when they are first used. The command line is a shell over it."""
