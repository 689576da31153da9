"""Ray on this machine, started for a sweep with what the sweep uses."""
