"""Sweeps as Ray jobs: they survive the machine that launched them."""
