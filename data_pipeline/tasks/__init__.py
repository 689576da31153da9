"""What a model is fed, of a dataset or of a photo."""
