"""Beat's ticks: reconciler, retention, sweeps."""
