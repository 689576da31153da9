"""The driver of a sweep, on Ray Tune."""
