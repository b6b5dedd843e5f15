"""Benchmarks of the engine beside the base model alone, the machine's bound and its rivals."""
