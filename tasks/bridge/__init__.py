"""The bridge: from Synapse events to rows and chains of tasks."""
