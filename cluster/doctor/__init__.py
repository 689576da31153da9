"""`fersweep doctor`: could a sweep run here, and what is in its way? A check is a function `check_…` of a file that checks.py names."""
