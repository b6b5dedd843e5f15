"""What an operator sees of the whole, and how what was given up is tried again."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import delete

from cyrex.recovery.dead_ends import EVENT_SET_ASIDE
from cyrex.work.lease import Lease
from database.base import new_id
from database.models import (
    Company,
    DeadLetter,
    Inbox,
    Job,
    LoraAdapter,
    Outbox,
    TrainingRun,
    Worker,
)
from database.session import operator_session
from database.transitions import ADAPTER, JOB, MAX_FAILURES, TOOL_CALL, TRAINING, Machine
from synapse.consumer import Consumer
from synapse.envelope import Envelope
from synapse.relay import Relay
from synapse.streams import (
    COMPANY_AUTOMATION_JOBS,
    CONSUMED,
    GROUP,
    LORA_ADAPTER_READY,
    LORA_TRAINING_REQUESTS,
    connect,
)
from tasks import app as celery_app
from tasks.bridge.effects import effect
from tasks.broker import queues, routing
from tasks.upkeep import reconciler
from tasks.workers import presence as worker
from tasks.workers.presence import Presence
from tests.support import rows
from tests.support.waiting import together
from tests.support.web import Api, Tenant, error_of
from web.shapes import operations as shapes

LETTERS = "/operations/dead-letters"
OVERVIEW = "/operations/overview"


@pytest.fixture(autouse=True)
def redis(app: Any, redis_url: str) -> Iterator[Redis]:
    client = connect(redis_url)
    client.flushdb()
    with operator_session() as session:
        for model in (Company, DeadLetter, Inbox, Outbox, Worker):
            session.execute(delete(model))
    yield client
    client.close()


class Bridge:
    """The relay and the consumer of a bridge worker, a turn at a time."""

    def __init__(self, redis: Redis) -> None:
        stop = threading.Event()
        self._relay = Relay(redis, stop)
        self._consumer = Consumer(redis, CONSUMED, "bridge@test", effect, stop)

    def turn(self) -> None:
        while self._relay.run_once():
            pass
        for _ in range(3):  # the first call makes the group
            self._consumer.run_once(block_ms=20)


@pytest.fixture
def bridge(redis: Redis) -> Bridge:
    return Bridge(redis)


def publish(redis: Redis, stream: str, **fields: Any) -> None:
    flat = {k: v if isinstance(v, str) else json.dumps(v) for k, v in fields.items()}
    redis.xadd(stream, flat)  # type: ignore[arg-type]


def letters(operator: Api, **query: Any) -> list[shapes.DeadLetterView]:
    found = operator.get(LETTERS, query_string=query)
    assert found.status_code == 200, found.text
    return shapes.DeadLetters.model_validate(found.json).dead_letters


def replay(operator: Api, letter_id: str) -> Any:
    return operator.post(f"{LETTERS}/{letter_id}/replay")


def give_up(machine: Machine, company_id: str, **values: Any) -> str:
    """A row whose last try has just failed, as a worker leaves it."""
    key = rows.claimable(machine, company_id, failures=MAX_FAILURES - 1, **values)
    row = rows.row_of(machine, key)
    with operator_session() as session:
        lease = Lease(machine, company_id, key, row.step, row.attempt, "w")
        held = lease.claim(session)
        assert held is not None
        assert lease.release(session, held, "it broke") is not None
    assert rows.row_of(machine, key).status == "failed"
    return key


# Who may look.


def test_only_an_operator_may_look_or_replay(acme: Tenant, anyone: Api) -> None:
    for path in (LETTERS, f"{LETTERS}/x", OVERVIEW):
        error_of(acme.api.get(path), 403, "operator_required")
        error_of(anyone.get(path), 401)
    error_of(replay(acme.api, "x"), 403, "operator_required")


# Rows that were given up.


@pytest.mark.parametrize(
    ("machine", "status"),
    [(JOB, "admitted"), (TRAINING, "admitted"), (ADAPTER, "announced")],
    ids=lambda value: getattr(value, "kind", value),
)
def test_a_row_goes_on_from_its_step(
    operator: Api, acme: Tenant, redis: Redis, machine: Machine, status: str
) -> None:
    step = machine.steps[-1]
    key = give_up(machine, acme.company_id, step=step)
    (letter,) = letters(operator, kind=machine.kind)
    assert (letter.reference, letter.reason) == (key, "it broke")
    before = rows.row_of(machine, key)

    answer = replay(operator, letter.id)
    assert answer.status_code == 200
    shown = shapes.DeadLetterView.model_validate(answer.json)
    assert shown.replayed_at is not None
    assert shown.history[-1]["reason"] == "replayed"
    assert shown.history[0]["reason"] == "it broke", "its history is kept"
    row = rows.row_of(machine, key)
    assert (row.status, row.step, row.failures, row.error) == (status, step, 0, None)
    assert row.attempt == before.attempt + 1
    backlog = queues.backlog(redis)
    queue = machine.queues[step]
    assert backlog[queue].depth == 1
    with operator_session() as session:
        lease = Lease(machine, acme.company_id, key, step, row.attempt, "w2")
        assert lease.claim(session) is not None


def test_a_replay_is_done_once(operator: Api, acme: Tenant, redis: Redis) -> None:
    key = give_up(JOB, acme.company_id)
    (letter,) = letters(operator)
    answers = together([lambda: replay(operator, letter.id)] * 4)
    assert [answer.status_code for answer in answers] == [200] * 4
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert len({answer.text for answer in answers}) == 1
    row = rows.get(Job, key)
    assert (row.status, row.attempt) == ("admitted", 3)
    assert queues.backlog(redis)["inference"].depth == 1
    # It fails again: another letter, which can be replayed in its turn.
    rows.change(Job, key, failures=MAX_FAILURES - 1)
    with operator_session() as session:
        lease = Lease(JOB, acme.company_id, key, "process", 3, "w")
        lease.release(session, lease.claim(session), "it broke again")
    assert "Idempotent-Replayed" in replay(operator, letter.id).headers
    assert rows.get(Job, key).status == "failed"
    newest = letters(operator)[0]
    assert replay(operator, newest.id).status_code == 200
    assert rows.get(Job, key).status == "admitted"


def test_a_replayed_job_gets_its_time_and_todays_adapter(operator: Api, acme: Tenant) -> None:
    key = give_up(
        JOB, acme.company_id, adapter_resolved=True, deadline_at=rows.ago(60), cancel_requested=True
    )
    replay(operator, letters(operator)[0].id)
    row = rows.get(Job, key)
    assert (row.deadline_at, row.adapter_resolved, row.completed_at) == (None, False, None)
    assert not row.cancel_requested
    assert rows.told(key)[-2:] == ["queued", "admitted"]


def test_a_replayed_row_keeps_to_its_companys_limit(operator: Api, acme: Tenant) -> None:
    rows.run(acme.company_id, status="running", lease_owner="somebody")
    key = give_up(TRAINING, acme.company_id, step="train")
    replay(operator, letters(operator, kind="training")[0].id)
    assert rows.get(TrainingRun, key).status == "queued", "one training at a time"
    assert rows.events(key)[-1] == "replayed"


def test_a_replayed_training_takes_its_adapter_back(operator: Api, acme: Tenant) -> None:
    key = give_up(TRAINING, acme.company_id, step="announce")
    adapter_id = rows.adapter(acme.company_id, request_id=key)
    _reconcile()
    assert rows.get(LoraAdapter, adapter_id).error["code"] == "training_ended"
    replay(operator, letters(operator)[0].id)
    adapter = rows.get(LoraAdapter, adapter_id)
    assert (adapter.status, adapter.error) == ("registered", None)


def _reconcile() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "_presence", Presence("here@test", ["bridge"], dict))
        reconciler.reconcile()


@pytest.mark.parametrize("what", ["a tool call", "a row that went on", "a row that is gone"])
def test_what_cannot_be_replayed_is_refused_with_its_reason(
    operator: Api, acme: Tenant, what: str
) -> None:
    machine = TOOL_CALL if what == "a tool call" else JOB
    key = give_up(machine, acme.company_id)
    said = {
        "a tool call": "has gone on",
        "a row that went on": "completed at attempt 9",
        "a row that is gone": "any more",
    }[what]
    if what == "a row that went on":
        rows.change(Job, key, status="completed", attempt=9)
    elif what == "a row that is gone":
        with operator_session() as session:
            session.delete(session.get_one(Job, key))
    (letter,) = letters(operator, kind=machine.kind)
    assert said in error_of(replay(operator, letter.id), 409, "not_replayable")["message"]
    assert letters(operator)[0].replayed_at is None
    error_of(replay(operator, "unknown"), 404, "dead_letter_not_found")


# Events that were set aside.


def test_an_event_has_its_effect_once_its_cause_is_gone(
    operator: Api, redis: Redis, bridge: Bridge
) -> None:
    company_id, event_id = f"late-{new_id()}", new_id()
    fields = {"job_id": event_id, "company_id": company_id, "data": {"input": "x"}}
    publish(redis, COMPANY_AUTOMATION_JOBS, request_id=event_id, **fields)
    bridge.turn()
    (letter,) = letters(operator, kind=COMPANY_AUTOMATION_JOBS)
    assert "there is no company" in letter.reason
    refused = error_of(replay(operator, letter.id), 409, "not_replayable")
    assert "create it first" in refused["message"]

    operator.post("/companies", {"company_id": company_id})
    assert replay(operator, letter.id).status_code == 200
    assert replay(operator, letter.id).headers["Idempotent-Replayed"] == "true"
    for _ in range(2):
        bridge.turn()
    job = rows.get(Job, event_id)
    assert (job.company_id, job.status) == (company_id, "admitted")
    assert rows.get(Inbox, f"{event_id}:job").outcome == "applied"
    assert len(letters(operator)) == 1, "nothing was set aside anew"


def test_an_event_that_is_refused_again_is_another_letter(
    operator: Api, acme: Tenant, redis: Redis, bridge: Bridge
) -> None:
    fields = {"adapter_id": "unknown", "company_id": acme.company_id, "request_id": "r1"}
    publish(redis, "lora_adapter_requests", **fields)
    bridge.turn()
    (first,) = letters(operator)
    assert replay(operator, first.id).status_code == 200
    bridge.turn()
    second, same = letters(operator)
    assert same.id == first.id
    assert (second.reference, second.replayed_at) == (first.reference, None)
    assert [letter.id for letter in letters(operator, replayed="false")] == [second.id]
    assert [letter.id for letter in letters(operator, replayed="true")] == [first.id]


def test_an_entry_that_is_no_event_is_not_replayed(
    operator: Api, redis: Redis, bridge: Bridge
) -> None:
    publish(redis, LORA_TRAINING_REQUESTS, nonsense="1")
    bridge.turn()
    (letter,) = letters(operator)
    assert letter.payload["outcome"] == "invalid"
    refused = error_of(replay(operator, letter.id), 409, "not_replayable")
    assert "publish a corrected one" in refused["message"]


def test_an_event_that_has_had_its_effect_is_not_replayed(operator: Api, acme: Tenant) -> None:
    envelope = Envelope.of(
        COMPANY_AUTOMATION_JOBS,
        {
            "event_id": "e1",
            "type": "job.requested",
            "company_id": acme.company_id,
            "data": {"data": "x"},
        },
    )
    with operator_session() as session:
        where = {"stream": COMPANY_AUTOMATION_JOBS, "entry_id": "1-1"}
        session.add(Inbox(event_id="e1", outcome="applied", **where))
        session.add(
            DeadLetter(
                id=new_id(),
                kind=COMPANY_AUTOMATION_JOBS,
                reference="e1",
                reason="x",
                payload={"outcome": "gave_up", "fields": envelope.to_fields()},
            )
        )
    refused = error_of(replay(operator, letters(operator)[0].id), 409, "not_replayable")
    assert "has had its effect" in refused["message"]


def set_aside(stream: str, envelope: dict[str, Any]) -> None:
    """The consumer gave this event of our own up."""
    with operator_session() as session:
        event_id = envelope["event_id"]
        session.add(Inbox(event_id=event_id, stream=stream, entry_id="1-1", outcome="gave_up"))
        fields = Envelope.model_validate(envelope).to_fields()
        session.add(
            DeadLetter(
                kind=stream,
                reference=event_id,
                company_id=envelope["company_id"],
                reason="it broke",
                payload={"outcome": "gave_up", "fields": fields},
            )
        )


def test_a_training_whose_event_was_set_aside_fails_and_its_replay_takes_it_back(
    operator: Api, acme: Tenant, bridge: Bridge
) -> None:
    key = rows.run(acme.company_id)
    (envelope,) = rows.announced(acme.company_id, LORA_TRAINING_REQUESTS)
    set_aside(LORA_TRAINING_REQUESTS, envelope)
    _reconcile()
    run = rows.get(TrainingRun, key)
    assert (run.status, run.error["code"]) == ("failed", EVENT_SET_ASIDE)
    assert "it broke" in run.error["message"]
    assert run.finished_at is not None
    assert rows.events(key)[-1] == "failed"

    assert replay(operator, letters(operator)[0].id).status_code == 200
    assert rows.get(TrainingRun, key).status == "requested"
    _reconcile()
    assert rows.get(TrainingRun, key).status == "requested", "it waits for its event"
    bridge.turn()
    run = rows.get(TrainingRun, key)
    assert (run.status, run.error, run.finished_at) == ("admitted", None, None)


def test_an_adapter_whose_event_was_set_aside_fails_and_its_replay_takes_it_back(
    operator: Api, acme: Tenant, bridge: Bridge
) -> None:
    adapter_id = rows.adapter(acme.company_id, sha256="a" * 64)
    envelope = Envelope.of(
        LORA_ADAPTER_READY,
        {
            "event_id": f"{adapter_id}:ready",
            "type": "adapter.ready",
            "company_id": acme.company_id,
            "data": {"adapter_id": adapter_id},
        },
    )
    set_aside(LORA_ADAPTER_READY, envelope.model_dump(mode="json"))
    _reconcile()
    assert rows.get(LoraAdapter, adapter_id).error["code"] == EVENT_SET_ASIDE
    assert replay(operator, letters(operator)[0].id).status_code == 200
    bridge.turn()
    adapter = rows.get(LoraAdapter, adapter_id)
    assert (adapter.status, adapter.error, adapter.step) == ("announced", None, "fetch")


# The list.


def test_letters_are_listed_by_page_kind_and_company(
    operator: Api, acme: Tenant, globex: Tenant, redis: Redis
) -> None:
    keys = [give_up(JOB, acme.company_id) for _ in range(3)]
    other = give_up(ADAPTER, globex.company_id)
    first = shapes.DeadLetters.model_validate(operator.get(f"{LETTERS}?limit=3").json)
    assert [letter.reference for letter in first.dead_letters] == [other, keys[2], keys[1]]
    rest = shapes.DeadLetters.model_validate(
        operator.get(f"{LETTERS}?limit=3&after={first.next_after}").json
    )
    assert [letter.reference for letter in rest.dead_letters] == [keys[0]]
    assert rest.next_after is None
    assert [letter.reference for letter in letters(operator, kind="adapter")] == [other]
    of_acme = letters(operator, company_id=acme.company_id)
    assert {letter.company_id for letter in of_acme} == {acme.company_id}
    (one,) = letters(operator, kind="adapter")
    assert shapes.DeadLetterView.model_validate(operator.get(f"{LETTERS}/{one.id}").json) == one
    error_of(operator.get(f"{LETTERS}/none"), 404, "dead_letter_not_found")
    for unknown in ("No!", "jobs"):
        refused = error_of(operator.get(f"{LETTERS}?kind={unknown}"), 400)
        assert refused["param"] == "kind"
        assert f"adapter, tool, {LORA_TRAINING_REQUESTS}" in refused["message"]


# The whole.


def test_the_overview_names_what_works_waits_and_hangs(
    operator: Api, acme: Tenant, redis: Redis, bridge: Bridge
) -> None:
    alive, dead = rows.worker("training@a"), rows.worker("training@b", age_seconds=60)
    run = rows.claimable(
        TRAINING, acme.company_id, status="running", step="train", lease_owner=alive
    )
    rows.claimable(JOB, acme.company_id, status="running", lease_owner=dead)
    give_up(ADAPTER, acme.company_id)
    acme.api.process()
    publish(redis, LORA_TRAINING_REQUESTS, request_id="r", nonsense="1")
    with operator_session() as session:
        session.execute(delete(Outbox).where(Outbox.stream != LORA_TRAINING_REQUESTS))
    bridge.turn()
    rows.run(acme.company_id)  # its event waits for the relay

    overview = shapes.Overview.model_validate(operator.get(OVERVIEW).json)
    by_queue = {queue.name: queue for queue in overview.queues}
    assert by_queue["inference"].depth == 1
    assert 0 <= (by_queue["inference"].oldest_seconds or -1) < 30
    assert (by_queue["tools"].depth, by_queue["tools"].oldest_seconds) == (0, None)
    assert by_queue["inference"].status == "down"
    by_stream = {stream.name: stream for stream in overview.streams}
    (group,) = by_stream[LORA_TRAINING_REQUESTS].groups
    assert (group.name, group.pending, group.lag) == (GROUP, 0, 0)
    by_node = {found.node: found for found in overview.workers}
    assert by_node["training@a"].alive
    assert not by_node["training@b"].alive
    assert by_node["training@b"].heartbeat_seconds > 50
    (held,) = by_node["training@a"].leases
    assert (held.kind, held.id, held.step, held.attempt) == ("training", run, "train", 1)
    assert overview.leases["training"].model_dump() == {"held": 1, "orphaned": 0}
    assert overview.leases["job"].model_dump() == {"held": 1, "orphaned": 1}
    assert overview.outbox.unpublished >= 1
    assert 0 <= (overview.outbox.oldest_seconds or -1) < 30
    assert overview.dead_letters == {"adapter": 1, LORA_TRAINING_REQUESTS: 1}
    assert overview.rows["adapter"]["failed"] >= 1
    assert set(overview.rows) == {"training", "job", "adapter", "tool"}
    assert set(overview.rows["job"]) == set(JOB.by_name)


def test_a_workers_own_queue_is_shown(operator: Api, redis: Redis) -> None:
    rows.change(Worker, rows.worker("inference@a"), queues=["inference"])
    name = routing.direct_name("inference@a")
    celery_app.send_task("job.process", queue=routing.direct_queue("inference@a"), priority=3)
    overview = shapes.Overview.model_validate(operator.get(OVERVIEW).json)
    (queue,) = [found for found in overview.queues if found.name == name]
    assert (queue.depth, queue.workers) == (1, 1)
    assert queue.oldest_seconds is not None


def test_lag_and_pending_are_a_groups_own(operator: Api, redis: Redis) -> None:
    ids = [redis.xadd(LORA_ADAPTER_READY, {"n": n}) for n in range(5)]
    redis.xgroup_create(LORA_ADAPTER_READY, GROUP, id="0")
    redis.xreadgroup(GROUP, "c", {LORA_ADAPTER_READY: ">"}, count=3)
    redis.xack(LORA_ADAPTER_READY, GROUP, ids[0])  # type: ignore[arg-type]
    overview = shapes.Overview.model_validate(operator.get(OVERVIEW).json)
    (stream,) = [found for found in overview.streams if found.name == LORA_ADAPTER_READY]
    (group,) = stream.groups
    assert (stream.length, group.pending, group.lag, group.consumers) == (5, 2, 2, 1)
    assert group.oldest_pending_seconds is not None
