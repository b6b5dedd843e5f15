"""Rows whose event was set aside are failed with its reason, and taken back by a replay."""

from __future__ import annotations

import pytest

from cyrex.recovery.dead_ends import (
    EVENT_SET_ASIDE,
    TRAINING_ENDED,
    fail_dead_ends,
    take_back_adapter,
)
from database.models import DeadLetter, Inbox, LoraAdapter, TrainingRun
from database.session import operator_session
from synapse.outbox import ready_event_id
from tests.support import rows

pytestmark = pytest.mark.usefixtures("database_url")


def set_aside(event_id: str, reason: str) -> None:
    with operator_session() as session:
        receipt = {"stream": "lora_adapter_ready", "entry_id": "1-1", "outcome": "refused"}
        session.add(Inbox(event_id=event_id, **receipt))
        session.add(DeadLetter(kind="lora_adapter_ready", reference=event_id, reason=reason))


def ended(company_id: str) -> list[str]:
    """The kinds of this company's rows that have just been failed."""
    with operator_session() as session:
        failed = fail_dead_ends(session, 100)
        return [machine.kind for machine, row in failed if row.company_id == company_id]


def test_a_training_whose_event_was_set_aside_fails_with_the_reason() -> None:
    company_id = rows.company()
    lost, waiting = rows.run(company_id), rows.run(company_id)
    set_aside(lost, "no such dataset")
    assert ended(company_id) == ["training"]
    run = rows.get(TrainingRun, lost)
    assert run.status == "failed"
    assert run.error["code"] == EVENT_SET_ASIDE
    assert "no such dataset" in run.error["message"]
    assert rows.get(TrainingRun, waiting).status == "requested"
    assert ended(company_id) == []


def test_an_adapter_whose_announcement_was_set_aside_fails_and_may_wait_again() -> None:
    company_id = rows.company()
    adapter_id = rows.adapter(company_id)
    set_aside(ready_event_id(adapter_id), "no package")
    assert ended(company_id) == ["adapter"]
    assert rows.get(LoraAdapter, adapter_id).error["code"] == EVENT_SET_ASIDE
    which = LoraAdapter.adapter_id == adapter_id
    with operator_session() as session:
        take_back_adapter(session, TRAINING_ENDED, which)
    assert rows.get(LoraAdapter, adapter_id).status == "failed"
    with operator_session() as session:
        take_back_adapter(session, EVENT_SET_ASIDE, which)
    assert rows.get(LoraAdapter, adapter_id).status == "registered"


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_an_adapter_whose_training_ended_first_fails(status: str) -> None:
    company_id = rows.company()
    request_id = rows.run(company_id, status=status)
    adapter_id = rows.adapter(company_id, request_id=request_id)
    assert ended(company_id) == ["adapter"]
    error = rows.get(LoraAdapter, adapter_id).error
    assert error["code"] == TRAINING_ENDED
    assert status in error["message"]
