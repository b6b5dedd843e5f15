"""The routes, one module per domain."""
