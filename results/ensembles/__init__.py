"""Which trials answer best together."""
