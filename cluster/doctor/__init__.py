"""What keeps a sweep from running on a cluster, and its remedy."""
