"""How deep JSON may be nested. A number of ours: how deep Python itself can go depends on its
version, the thread's stack and the caller, so that the same data would be good here and bad there.
"""

from __future__ import annotations

from typing import Any

# Levels of objects and lists, the outermost one included: as many as a request's body may have.
MAX_DEPTH = 64
TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels"


def is_too_deep(value: Any) -> bool:
    """Whether JSON that was read has more levels than `MAX_DEPTH`."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(MAX_DEPTH):
        inner = [item.values() if isinstance(item, dict) else item for item in level]
        level = [x for items in inner for x in items if isinstance(x, (dict, list))]
    return bool(level)
