"""What colours mean in figures."""

from __future__ import annotations

INK, FAINT = "#1c2430", "#d8dee6"
CLASSES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8a8d00", "#5e4fa2")
"""Okabe & Ito's colours, which are distinct in any colour vision."""

STATES = {"stopped": "#8a96a3", "finished": "#0072b2", "failed": "#d55e00", "running": "#009e73"}
BEST = "#e69f00"
RIGHT, WRONG = "#0072b2", "#d55e00"
