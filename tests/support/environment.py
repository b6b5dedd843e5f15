"""The settings of the test process."""

from __future__ import annotations

import settings
from database import session

FOLDERS = ("DATA_DIR", "BLOB_DIR", "WORK_DIR", "ADAPTER_CACHE_DIR", "MODEL_REGISTRY_PATH")


def forget_settings() -> None:
    """Call it after changing the environment: the next `get_settings()` reads it again."""
    settings.get_settings.cache_clear()
    session.dispose()
