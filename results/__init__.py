"""What a sweep left behind: its journal, its MLflow records, comparison, promotion, prediction."""
