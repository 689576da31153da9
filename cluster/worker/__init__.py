"""One trial on a worker."""
