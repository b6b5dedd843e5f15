"""The outbox: an event commits with the change that it announces."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from redis import Redis
from sqlalchemy.exc import DBAPIError, IntegrityError

from database.models import Inbox
from database.session import company_session, operator_session
from synapse.envelope import Envelope, EnvelopeInvalid
from synapse.outbox import announce, republish, wake
from synapse.payloads import MODEL_EVENT, TRAINING_REQUESTED
from synapse.relay import Relay
from synapse.streams import LORA_TRAINING_REQUESTS, MODEL_EVENTS, WAKE_KEY
from tests.support.outbox import published, unpublished


def test_an_event_commits_with_its_change_or_not_at_all(
    company: str, redis: Redis, stop: threading.Event
) -> None:
    class Undone(Exception):
        pass

    with pytest.raises(Undone), operator_session() as session:
        announce(session, MODEL_EVENTS, MODEL_EVENT, company, {"event": "never"})
        session.flush()
        raise Undone
    with operator_session() as session:
        kept = announce(
            session,
            LORA_TRAINING_REQUESTS,
            TRAINING_REQUESTED,
            company,
            {"dataset_id": "d1", "request_id": "r1"},
            correlation_id="c1",
        )
        # Not yet committed: another transaction, the relay's, does not see it.
        assert Relay(redis, stop).run_once() == 0
    assert Relay(redis, stop).run_once() == 1
    assert published(redis) == []
    entries: Any = redis.xrange(LORA_TRAINING_REQUESTS)
    [(_, fields)] = entries
    assert Envelope.parse(LORA_TRAINING_REQUESTS, fields) == kept
    assert (kept.source, kept.correlation_id) == ("cyrex", "c1")


def test_a_company_announces_only_for_itself(company: str) -> None:
    with company_session(company) as session:
        announce(session, MODEL_EVENTS, MODEL_EVENT, company, {"event": "mine"})
    with pytest.raises(DBAPIError, match="row-level security"), company_session(company) as session:
        announce(session, MODEL_EVENTS, MODEL_EVENT, "another", {"event": "theirs"})
    assert unpublished() == 1


def test_what_is_no_event_is_refused_at_once(company: str) -> None:
    with operator_session() as session:
        with pytest.raises(EnvelopeInvalid, match="dataset_id"):
            announce(session, LORA_TRAINING_REQUESTS, TRAINING_REQUESTED, company, {})
        with pytest.raises(EnvelopeInvalid, match="does not belong"):
            announce(session, LORA_TRAINING_REQUESTS, MODEL_EVENT, company, {"event": "e"})
        with pytest.raises(EnvelopeInvalid, match="NUL"):
            announce(session, MODEL_EVENTS, MODEL_EVENT, company, {"event": "\x00"})
    assert unpublished() == 0


def test_an_event_id_is_announced_once(company: str) -> None:
    for attempt in range(2):
        try:
            with operator_session() as session:
                announce(session, MODEL_EVENTS, MODEL_EVENT, company, {"event": "e"}, event_id="e1")
        except IntegrityError:
            assert attempt == 1
    assert unpublished() == 1


def test_wakes_that_nobody_hears_do_not_pile_up(redis: Redis) -> None:
    for _ in range(50):
        wake(redis)
    assert redis.llen(WAKE_KEY) == 1


def test_what_a_flush_took_is_published_again(
    company: str, redis: Redis, stop: threading.Event
) -> None:
    with operator_session() as session:
        seen, lost = [
            announce(session, stream, kind, company, data).event_id
            for stream, kind, data in [
                (LORA_TRAINING_REQUESTS, TRAINING_REQUESTED, {"dataset_id": "d1"}),
                (LORA_TRAINING_REQUESTS, TRAINING_REQUESTED, {"dataset_id": "d2"}),
            ]
        ]
        # News that the platform does not read itself reaches no inbox, ever.
        announce(session, MODEL_EVENTS, MODEL_EVENT, company, {"event": "e"})
    relay = Relay(redis, stop)
    assert relay.run_once() == 3
    with operator_session() as session:
        receipt = {"stream": LORA_TRAINING_REQUESTS, "entry_id": "1-1", "outcome": "applied"}
        session.add(Inbox(event_id=seen, **receipt))
    redis.flushdb()
    with operator_session() as session:
        assert republish(session, after_seconds=60) == 0
        assert republish(session, after_seconds=0) == 1
    assert relay.run_once() == 1
    assert published(redis, LORA_TRAINING_REQUESTS) == [lost]
    assert published(redis) == []
