"""Somebody's own code that hears of a sweep (`callbacks` in its sweep file), each in a process of its own beside the driver."""
