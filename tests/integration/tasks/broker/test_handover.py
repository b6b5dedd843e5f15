"""Hints collected before a commit are given once, and one failure does not stop the rest."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from database.models import Job
from database.transitions import JOB
from tasks.broker.handover import Handover
from tests.support import rows
from tests.support.broker import Broker


def test_everything_is_given_once(acme: str, broker: Broker) -> None:
    admitted = rows.get(Job, rows.claimable(JOB, acme))
    queued = rows.job(acme)
    handover = Handover()
    assert not handover
    handover.rows.append((JOB, admitted))
    for _ in range(2):
        handover.companies.add(("job", acme))
    assert handover
    handover.give()
    handover.give()
    assert not handover
    assert broker.rows("inference") == [(admitted.job_id, 1), (queued, 1)]


@pytest.mark.parametrize("error", [OperationalError("SELECT 1", {}, Exception("gone")), ValueError])
def test_a_failure_is_logged_and_does_not_stop_the_rest(
    acme: str,
    broker: Broker,
    logs: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    def fail(*_what: object) -> int:
        raise error

    monkeypatch.setattr("tasks.broker.handover.publish_all", fail)
    queued = rows.job(acme)
    handover = Handover(companies={("job", acme)})
    handover.give()
    assert broker.rows("inference") == [(queued, 1)]
    assert [entry["event"] for entry in logs] == ["not_handed_over"]
