"""Where a stack's engine is."""

from __future__ import annotations

import psutil

from embedded import Stack


def engine_of(stack: Stack) -> psutil.Process:
    """The inference worker's; no child of it where it was taken over from a worker that died."""
    supervisor = psutil.Process(stack.pid("inference")).parent()
    assert supervisor is not None
    for child in supervisor.children(recursive=True):
        if "cyrex.serving.child" in child.cmdline():
            return child
    raise AssertionError("the worker has no engine")
