"""What is removed and renamed: sweeps with all that belongs to them, and what nothing needs any more."""
