"""A world for every test of a check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from database.models import Company
from database.session import operator_session
from tests.chaos.plan import IDEMPOTENT, ONCE
from tests.chaos.world import World


@pytest.fixture
def world(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[World]:
    """Every test has a past of its own in the module's database."""
    with operator_session() as session:
        for table in ("companies", "outbox", "inbox", "dead_letters"):
            session.connection().exec_driver_sql(f"DELETE FROM {table}")
        for company in (ONCE, IDEMPOTENT):
            session.add(Company(company_id=company, name=company))
    world = World(database_url, redis_url, tmp_path)
    world.streams.flushdb()
    yield world
    world.rows.close()
