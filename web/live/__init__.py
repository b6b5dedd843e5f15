"""What lives between requests: publication after commit, waiting clients, streams."""
