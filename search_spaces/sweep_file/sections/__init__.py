"""Sections of a sweep file that have a file of their own; schema.py puts them together."""
