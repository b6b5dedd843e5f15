"""Leases, admission to the broker and news of a change: shared by all durable work."""
