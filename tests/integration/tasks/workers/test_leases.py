"""The leases of a worker: found by their owner, given back one by one."""

from __future__ import annotations

from database.models import Job
from database.session import operator_session
from database.transitions import JOB, MAX_FAILURES, TRAINING
from tasks.workers.leases import free_leases, held_by
from tests.support import rows


def test_a_worker_holds_rows_of_every_kind(acme: str) -> None:
    mine = {
        (machine.kind, rows.claimable(machine, acme, status="running", lease_owner="me"))
        for machine in (JOB, TRAINING)
    }
    rows.claimable(JOB, acme, status="running", lease_owner="another")
    with operator_session() as session:
        found = {
            (machine.kind, getattr(row, machine.key)) for machine, row in held_by(session, "me")
        }
    assert found == mine


def test_a_freed_row_is_hinted_and_one_that_failed_too_often_ends(acme: str) -> None:
    key = rows.claimable(JOB, acme, status="running", lease_owner="me")
    last = rows.claimable(JOB, acme, status="running", lease_owner="me", failures=MAX_FAILURES - 1)
    with operator_session() as session:
        hints = free_leases(session, list(held_by(session, "me")), "it died")
        assert [(machine.kind, row.job_id) for machine, row in hints] == [("job", key)]
    freed, ended = rows.get(Job, key), rows.get(Job, last)
    assert (freed.lease_owner, freed.attempt, freed.failures) == (None, 2, 1)
    assert freed.published_at is not None
    assert (ended.status, ended.lease_owner) == ("failed", None)


def test_leases_that_are_given_back_in_good_order_count_no_failure(acme: str) -> None:
    key = rows.claimable(JOB, acme, status="running", lease_owner="me")
    with operator_session() as session:
        free_leases(session, list(held_by(session, "me")), "it leaves", counts=False)
    found = rows.get(Job, key)
    assert (found.lease_owner, found.attempt, found.failures) == (None, 2, 0)
