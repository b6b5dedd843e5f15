"""Through HTTP and Celery: stack_over_engine and stack_overhead_ms."""

from __future__ import annotations


def measure() -> dict[str, float]:
    return {}
