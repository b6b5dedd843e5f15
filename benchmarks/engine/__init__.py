"""The engine beside the base alone, the machine and its rivals."""
