"""What a sweep leaves on disk."""
