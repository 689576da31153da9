"""Readers of people's own: `fersweep prepare SOURCE --reader my_reader.py --out …`."""
