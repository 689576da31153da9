"""Files that start a cluster: one module a target."""
