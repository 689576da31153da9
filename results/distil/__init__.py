"""A model that teaches the trials of a sweep: asked once, its answers are kept with the sweep."""
