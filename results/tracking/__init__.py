"""What brings a sweep's record to MLflow."""
