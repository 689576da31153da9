"""`fersweep evaluate`: judge a model on a split."""
