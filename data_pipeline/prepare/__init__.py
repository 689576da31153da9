"""`fersweep prepare`: from sources to a dataset."""
