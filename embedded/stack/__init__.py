"""A stack: which processes, with which environment, driven by commands or from Python."""
