"""From a death to the next claim, as the outbox tells it."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from sqlalchemy import delete, func, select, update

from cyrex.work.news import updated
from database.base import Json
from database.models import Job, Outbox
from database.session import operator_session
from tests.chaos.disturbance import Death
from tests.chaos.rows import Rows
from tests.chaos.timings import percentile, reruns
from tests.support import rows as made


def test_percentiles_are_values_that_were_seen() -> None:
    assert percentile([], 0.95) is None
    assert percentile([3.0], 0.95) == 3.0
    assert percentile([float(n) for n in range(1, 101)], 0.95) == 95.0


def claimed(job_id: str, seconds: float) -> None:
    """The job was claimed so many seconds from now."""
    with operator_session() as session:
        job = session.get_one(Job, job_id)
        job.status = "running"
        updated(session, job)
        session.flush()
        newest = session.scalar(select(func.max(Outbox.id)))
        moment = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
        session.execute(
            update(Outbox)
            .where(Outbox.id == newest)
            .values(created_at=moment)
            .execution_options(synchronize_session=False)
        )


def history(now: float, reason: str, seconds: float) -> list[Json]:
    at = datetime.fromtimestamp(now + seconds, UTC).isoformat()
    return [{"owner": "the dead", "reason": reason, "at": at}]


def test_a_rerun_counts_from_the_death_to_the_next_claim(database_url: str) -> None:
    now = time.time()
    job_id = made.job(made.company(), history=history(now, "worker lost", 2))
    for seconds in (-10, 1, 4, 9):
        claimed(job_id, seconds)
    rows, died = Rows(database_url), [Death("the dead", now - 99), Death("the dead", now)]
    (rerun,) = reruns(rows, died)
    assert (rerun.died, rerun.reason) == (now, "worker lost")
    assert rerun.seconds == pytest.approx(4, abs=1), "what it claimed before it was freed is none"
    assert reruns(rows, [Death("another", now)]) == []
    assert reruns(rows, died, away=[(now + 1, now + 2)]) == []
    assert rerun.met([(now - 9, now + 1)])
    assert not rerun.met([(now - 9, now - 1), (now + 5, now + 9)])
    rows.close()


@pytest.mark.parametrize(("reason", "count"), [("EngineDied: it died", 1), ("OSError: a disk", 0)])
def test_an_engines_death_counts_and_another_failure_does_not(
    database_url: str, reason: str, count: int
) -> None:
    now = time.time()
    with operator_session() as session:
        session.execute(delete(Job))
    job_id = made.job(made.company(), history=history(now, reason, 1))
    claimed(job_id, 4)
    rows = Rows(database_url)
    assert len(reruns(rows, [Death("the dead", now)])) == count
    rows.close()
