"""What MLflow holds of sweeps."""
