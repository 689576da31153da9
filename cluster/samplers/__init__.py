"""How a sampler suggests the next trial; no Ray."""
