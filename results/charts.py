"""What the colours of a sweep's figures mean: from those of Okabe & Ito, which people with any colour vision tell apart."""

STATES = {"stopped": "#8a96a3", "finished": "#0072b2", "failed": "#d55e00", "running": "#009e73"}
BEST = "#e69f00"
RIGHT, WRONG = "#0072b2", "#d55e00"
