"""Training runs: request, check, train, checkpoints."""
