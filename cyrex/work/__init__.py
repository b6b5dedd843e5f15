"""What all durable work shares: leases, admission to the broker, news of a change."""
