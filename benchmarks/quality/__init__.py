"""The examples of `benchmarks.adapter_quality`."""
