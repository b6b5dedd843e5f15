"""Benchmarks of speed and quality, each beside a rival in the same run."""
