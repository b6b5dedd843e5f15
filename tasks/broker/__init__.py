"""The broker: what is published, which queue it goes to, how full the queues are."""
