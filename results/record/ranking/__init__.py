"""Who is better than whom in a sweep, kept level with its record."""
