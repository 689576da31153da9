"""Where files are that several machines, or several processes of one, use: buckets, and a cache on a disk of the machine."""
