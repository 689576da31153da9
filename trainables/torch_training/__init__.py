"""How nets of pixels train (PyTorch)."""
