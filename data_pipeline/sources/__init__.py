"""Faces as their owners hand them over: archives, folders, CSVs."""
