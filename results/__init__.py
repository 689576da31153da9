"""What a sweep left behind, and what is made of it: its record, scores, pages, MLflow, models, predictions."""
