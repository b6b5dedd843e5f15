"""From a death to the next claim, as the outbox tells it."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import func, select, update

from cyrex import jobs
from database.models import Job, Outbox
from database.session import operator_session
from tests import rows as made
from tests.chaos.rows import Rows
from tests.chaos.timings import percentile, reruns


def test_percentiles_are_values_that_were_seen() -> None:
    assert percentile([], 0.95) is None
    assert percentile([3.0], 0.95) == 3.0
    assert percentile([float(n) for n in range(1, 101)], 0.95) == 95.0


def claimed(job_id: str, seconds: float) -> None:
    """The job was claimed so many seconds from now."""
    with operator_session() as session:
        job = session.get_one(Job, job_id)
        job.status = "running"
        jobs.updated(session, job)
        session.flush()
        newest = session.scalar(select(func.max(Outbox.id)))
        moment = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
        session.execute(
            update(Outbox)
            .where(Outbox.id == newest)
            .values(created_at=moment)
            .execution_options(synchronize_session=False)
        )


def test_a_rerun_counts_from_the_death_to_the_next_claim(database_url: str) -> None:
    job_id = made.job(made.company(), history=[{"owner": "the dead", "reason": "worker lost"}])
    for seconds in (-10, 4, 9):
        claimed(job_id, seconds)
    rows, now = Rows(database_url), time.time()
    assert reruns(rows, {"the dead": now}) == [pytest.approx(4, abs=1)]
    assert reruns(rows, {"another": now}) == []
    assert reruns(rows, {"the dead": now}, away=[(now + 1, now + 2)]) == []
    rows.close()
