"""`fersweep champion`: the version that has an alias, its moves, and the way back."""
