"""Who learns and who tests."""
