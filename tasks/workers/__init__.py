"""Worker processes: their rows, their leases, their deaths."""
