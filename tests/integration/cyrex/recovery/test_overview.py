"""What an operator sees of the whole system agrees with the rows."""

from __future__ import annotations

import pytest

from cyrex.recovery import overview
from database.models import DeadLetter
from database.session import operator_session
from database.transitions import HEARTBEAT_EXPIRY_SECONDS, JOB, MACHINES
from tests.support import rows

pytestmark = pytest.mark.usefixtures("database_url")


def test_every_state_is_counted() -> None:
    company_id = rows.company()
    with operator_session() as session:
        before = overview.rows_by_state(session)
    rows.job(company_id)
    with operator_session() as session:
        after = overview.rows_by_state(session)
    assert list(after) == list(MACHINES)
    assert list(after["job"]) == list(JOB.by_name)
    assert after["job"]["queued"] == before["job"]["queued"] + 1
    assert after["training"] == before["training"]


def test_leases_are_held_or_orphaned() -> None:
    company_id = rows.company()
    living, dead = rows.worker("living"), rows.worker("dead", HEARTBEAT_EXPIRY_SECONDS + 60)
    held = {"status": JOB.running, "step": JOB.steps[0]}
    mine = rows.job(company_id, lease_owner=living, **held)
    for _ in range(2):
        rows.job(company_id, lease_owner=dead, **held)
    with operator_session() as session:
        assert overview.leases(session)["job"] == {"held": 3, "orphaned": 2}
        seen = {worker["node"]: worker for worker in overview.workers(session)}
    assert (seen["living"]["alive"], seen["living"]["holds"]) == (True, 1)
    assert (seen["dead"]["alive"], seen["dead"]["holds"]) == (False, 2)
    assert mine in str(seen["living"]["leases"])


def test_only_letters_that_were_not_replayed_are_open() -> None:
    with operator_session() as session:
        session.add(DeadLetter(kind="job", reference="a", reason="x"))
        session.add(DeadLetter(kind="job", reference="b", reason="x", replayed_at=rows.ago(1)))
        session.flush()
        assert overview.open_dead_letters(session) == {"job": 1}


def test_the_backlog_has_an_age() -> None:
    rows.run(rows.company())
    with operator_session() as session:
        found = overview.outbox_backlog(session)
    assert found["unpublished"] >= 1
    assert found["oldest_seconds"] >= 0
