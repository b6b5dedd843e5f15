"""The application refuses an unsafe database role at its start."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from database import session as sessions
from settings import get_settings
from web import create_app


def test_a_database_role_that_sees_everything_is_refused(
    servers: Any, database_url: str, app: Flask
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", servers.superuser_url())
        get_settings.cache_clear()
        sessions.dispose()
        with pytest.raises(sessions.UnsafeDatabaseRole):
            create_app()
        sessions.dispose()
    get_settings.cache_clear()
