"""fersweep: hyperparameter search for facial expression recognition, on Ray, with MLflow records."""
