"""When a trial ends early: one scheduler a file, named in registry.py; no Ray."""
