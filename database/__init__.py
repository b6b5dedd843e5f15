"""The truth: models, sessions with row-level security, guarded changes of state."""
