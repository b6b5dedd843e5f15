"""Whose leases are whose: the rows of dead workers, with real transactions side by side."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from database import claims
from database.session import operator_session
from database.transitions import JOB
from tests.support import rows


@pytest.fixture(autouse=True)
def database(database_url: str) -> None:
    pass


@pytest.fixture
def acme() -> str:
    return rows.company()


def test_orphans_are_the_leases_of_the_dead(acme: str) -> None:
    living, dead = rows.worker(), rows.worker(age_seconds=claims.HEARTBEAT_EXPIRY_SECONDS + 1)
    late = rows.worker(age_seconds=claims.HEARTBEAT_EXPIRY_SECONDS - 2)
    keys = {
        owner: rows.claimable(JOB, acme, lease_owner=owner, status="running")
        for owner in (living, late, dead, "nobody", None)
    }
    with operator_session() as session:
        found = {row.job_id for row in claims.orphans(session, JOB, 100)}
    assert found & set(keys.values()) == {keys[dead], keys["nobody"]}


def test_orphans_skip_rows_that_somebody_is_at(acme: str) -> None:
    busy = rows.claimable(JOB, acme, lease_owner="gone-1", status="running")
    free = rows.claimable(JOB, acme, lease_owner="gone-2", status="running")
    model: Any = JOB.model
    with operator_session() as session, operator_session() as other:
        session.execute(select(model).where(model.job_id == busy).with_for_update())
        found = {row.job_id for row in claims.orphans(other, JOB, 100)}
    assert busy not in found
    assert free in found
