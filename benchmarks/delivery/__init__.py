"""Benchmarks of delivery beside bare loops."""
