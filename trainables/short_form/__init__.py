"""The short form of a trainable: a file with a space and a net, trained by our loops (adapted.py)."""
