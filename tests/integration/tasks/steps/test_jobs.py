"""The task of a job, where it needs no engine."""

from __future__ import annotations

import pytest
from celery.exceptions import Ignore

from database.models import Job
from database.transitions import JOB
from tasks.broker.dispatch import JOBS_ENDED_CHANNEL
from tasks.steps.jobs import process
from tests.support import rows
from tests.support.broker import Broker

pytestmark = pytest.mark.usefixtures("here")


def test_a_job_that_was_cancelled_is_not_answered(acme: str, broker: Broker) -> None:
    key = rows.claimable(JOB, acme, cancel_requested=True)
    waiting = rows.job(acme)
    with broker.redis.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(JOBS_ENDED_CHANNEL)
        channel.get_message(timeout=1)
        with pytest.raises(Ignore):
            process(acme, key, "process", 1)
        said = channel.get_message(timeout=2)
    assert said is not None
    assert said["data"].decode() == key, "who waits for it is woken"
    job = rows.get(Job, key)
    assert job.status == "cancelled"
    assert job.completed_at is not None
    assert rows.told(key) == ["queued", "running", "cancelled"]
    assert broker.rows("inference") == [(waiting, 1)], "its place is taken at once"
