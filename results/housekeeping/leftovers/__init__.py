"""What is left over in a home, in its MLflow store, and on this machine: how it is found and removed."""
