"""The server side of a company: its adapters, its jobs, and the engine that answers for it."""
