"""How many nets of blendshapes train at once (PyTorch), and each is the Keras model that it would be alone."""
