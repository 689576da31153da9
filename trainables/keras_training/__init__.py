"""How nets of blendshapes train (Keras)."""
