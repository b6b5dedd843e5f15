"""What an event does: rows, and work for the broker, once an event."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import func, select

from database.base import new_id
from database.models import AdapterAlias, DeadLetter, Job, LoraAdapter, TrainingRun
from database.session import operator_session
from synapse import streams
from synapse.consumer import Consumer, EventRefused
from synapse.envelope import Envelope
from synapse.relay import Relay
from tasks.bridge.effects import effect
from tests.support import rows
from tests.support.broker import Broker

CHANNEL_OF = {
    "training.requested": streams.LORA_TRAINING_REQUESTS,
    "adapter.ready": streams.LORA_ADAPTER_READY,
    "adapter.requested": streams.LORA_ADAPTER_REQUESTS,
    "job.requested": streams.COMPANY_AUTOMATION_JOBS,
    "job.updated": streams.COMPANY_AUTOMATION_JOBS,
}


def event(type_: str, company_id: str, data: dict[str, Any], **values: Any) -> Envelope:
    envelope = {"event_id": new_id(), "type": type_, "company_id": company_id, "data": data}
    return Envelope.of(CHANNEL_OF[type_], {**envelope, **values})


def happen(envelope: Envelope) -> None:
    """The event's effect, its commit, and what comes after."""
    with operator_session() as session:
        after = effect(session, CHANNEL_OF[envelope.type], envelope)
    if after is not None:
        after()


def refusal(envelope: Envelope) -> str:
    with pytest.raises(EventRefused) as refused, operator_session() as session:
        effect(session, CHANNEL_OF[envelope.type], envelope)
    return refused.value.reason


def count(model: type[Any], company_id: str) -> int:
    with operator_session() as session:
        query = select(func.count()).select_from(model).where(model.company_id == company_id)
        return session.scalar(query) or 0


@pytest.fixture
def consumer(broker: Broker) -> Iterator[Consumer]:
    client = streams.connect()
    yield Consumer(client, streams.CONSUMED, "bridge@test", effect, threading.Event())
    client.close()


def consume(consumer: Consumer) -> None:
    for _ in range(3):  # the first call makes the group
        consumer.run_once(block_ms=50)


def publish(redis: Redis, stream: str, **fields: Any) -> None:
    """One XADD of plain redis-py, as an outside program would do it."""
    flat = {k: v if isinstance(v, str) else json.dumps(v) for k, v in fields.items()}
    redis.xadd(stream, flat)  # type: ignore[arg-type]


def dead_letters() -> list[DeadLetter]:
    with operator_session() as session:
        return list(session.scalars(select(DeadLetter)))


# Trainings.


def test_our_own_request_is_queued_admitted_and_published(acme: str, broker: Broker) -> None:
    request_id = rows.run(acme)
    (envelope,) = rows.announced(acme, streams.LORA_TRAINING_REQUESTS)
    happen(Envelope.of(streams.LORA_TRAINING_REQUESTS, envelope))
    run = rows.get(TrainingRun, request_id)
    assert run.status == "admitted"
    assert run.queued_at is not None
    assert broker.rows("bridge") == [(request_id, 1)]
    (news,) = rows.announced(acme, streams.MODEL_EVENTS)
    assert news["data"] == {"event": "lora-training-request", "request_id": request_id}


def test_an_outside_request_with_its_data_is_treated_alike(acme: str, broker: Broker) -> None:
    data = {"request_id": f"r-{acme}", "training_data": rows.LINES, "config": {"rank": 4}}
    happen(event("training.requested", acme, data, correlation_id="their-order-7"))
    run = rows.get(TrainingRun, f"r-{acme}")
    assert (run.status, run.source, run.config) == ("admitted", "stream", {"lora_rank": 4})
    assert broker.rows("bridge") == [(f"r-{acme}", 1)]
    (news,) = rows.announced(acme, streams.MODEL_EVENTS)
    assert news["data"]["request_id"] == f"r-{acme}"
    assert news["correlation_id"] == "their-order-7"
    assert run.correlation_id == "their-order-7", "what answers it can be matched with it"


def test_the_same_event_twice_is_one_run(acme: str, broker: Broker, consumer: Consumer) -> None:
    fields = {"request_id": f"r-{acme}", "company_id": acme, "training_data": rows.LINES}
    publish(broker.redis, streams.LORA_TRAINING_REQUESTS, **fields)
    publish(broker.redis, streams.LORA_TRAINING_REQUESTS, **fields)
    consume(consumer)
    publish(broker.redis, streams.LORA_TRAINING_REQUESTS, **fields)
    consume(consumer)
    assert count(TrainingRun, acme) == 1
    assert broker.rows("bridge") == [(f"r-{acme}", 1)]
    assert dead_letters() == []


def test_the_same_request_under_another_event_id_is_one_run(acme: str, broker: Broker) -> None:
    data = {"request_id": f"r-{acme}", "training_data": rows.LINES}
    happen(event("training.requested", acme, data))
    happen(event("training.requested", acme, data))
    assert count(TrainingRun, acme) == 1
    assert len(broker.sent("bridge")) == 1


def test_bad_data_is_set_aside_with_its_line(acme: str, broker: Broker, consumer: Consumer) -> None:
    lines = [rows.LINES[0], {"input": "no answer"}]
    publish(
        broker.redis,
        streams.LORA_TRAINING_REQUESTS,
        request_id=f"r-{acme}",
        company_id=acme,
        training_data=lines,
    )
    good = f"good-{acme}"
    publish(
        broker.redis,
        streams.LORA_TRAINING_REQUESTS,
        request_id=good,
        company_id=acme,
        training_data=rows.LINES,
    )
    consume(consumer)
    (letter,) = dead_letters()
    assert letter.reference == f"r-{acme}"
    assert letter.company_id == acme
    assert "training_data[1].output" in letter.reason
    assert "line 2" in letter.reason
    assert broker.rows("bridge") == [(good, 1)], "its neighbour in the batch goes on"
    pending: Any = broker.redis.xpending(streams.LORA_TRAINING_REQUESTS, streams.GROUP)
    assert pending["pending"] == 0, "it does not block the stream"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"training_data": []}, "training_data"),
        ({"training_data": [3]}, "training_data[0]"),
        ({"training_data": rows.LINES, "config": {"lora_rank": 0}}, "config.lora_rank"),
        ({"training_data": rows.LINES, "base_model": "other/model"}, "base_model"),
        ({"training_data": rows.LINES, "seed": -5}, "seed"),
        ({"dataset_id": "unknown"}, "training_data"),
    ],
)
def test_what_could_not_be_trained_is_refused(acme: str, data: dict[str, Any], said: str) -> None:
    assert said in refusal(event("training.requested", acme, data))
    assert count(TrainingRun, acme) == 0


def test_a_request_id_of_another_company_is_refused(acme: str) -> None:
    request_id = rows.run(rows.company("globex"))
    data = {"request_id": request_id, "training_data": rows.LINES}
    assert request_id in refusal(event("training.requested", acme, data))
    assert rows.get(TrainingRun, request_id).status == "requested"


def test_an_unknown_company_is_refused(acme: str) -> None:
    data = {"training_data": rows.LINES}
    assert "nobody" in refusal(event("training.requested", "nobody", data))
    assert "nobody" in refusal(event("job.requested", "nobody", {"data": 1}))


def test_a_cancelled_request_is_not_woken_by_its_event(acme: str, broker: Broker) -> None:
    request_id = rows.run(acme, status="cancelled")
    (envelope,) = rows.announced(acme, streams.LORA_TRAINING_REQUESTS)
    happen(Envelope.of(streams.LORA_TRAINING_REQUESTS, envelope))
    assert rows.get(TrainingRun, request_id).status == "cancelled"
    assert broker.sent("bridge") == []
    assert rows.announced(acme, streams.MODEL_EVENTS) == []


# Adapters.


def test_a_ready_adapter_begins_its_chain(acme: str, broker: Broker) -> None:
    adapter_id = rows.adapter(acme, sha256="a" * 64, registry_path="/r/1", evaluation={})
    ready = event("adapter.ready", acme, {"adapter_id": adapter_id})
    happen(ready)
    row = rows.get(LoraAdapter, adapter_id)
    assert (row.status, row.step) == ("announced", "fetch")
    (message,) = broker.sent("inference")
    assert message.arguments == (acme, adapter_id, "fetch", 1)
    assert message.then == ("adapter.evaluate", "adapter.warm", "adapter.decide")
    (news,) = rows.announced(acme, streams.MODEL_EVENTS)
    assert news["data"] == {
        "event": "lora-adapter-ready",
        "adapter_id": adapter_id,
        "model_path": "/r/1",
        "sha256": "a" * 64,
    }
    happen(event("adapter.ready", acme, {"adapter_id": adapter_id}))
    assert len(broker.sent("inference")) == 1, "it is on its way already"


def test_an_adapter_from_outside_gets_a_row_and_a_version(acme: str, broker: Broker) -> None:
    rows.adapter(acme)
    data = {"adapter_id": f"a-{acme}", "adapter_path": "/theirs", "metadata": {"team": "x"}}
    happen(event("adapter.ready", acme, data))
    row = rows.get(LoraAdapter, f"a-{acme}")
    assert (row.version, row.status, row.adapter_path) == (2, "announced", "/theirs")
    assert row.details == {"source": "stream", "team": "x"}
    assert broker.rows("inference") == [(f"a-{acme}", 1)]


def test_an_adapter_of_another_company_is_refused(acme: str, broker: Broker) -> None:
    adapter_id = rows.adapter(rows.company("globex"))
    said = refusal(event("adapter.ready", acme, {"adapter_id": adapter_id}))
    assert adapter_id in said
    assert rows.get(LoraAdapter, adapter_id).status == "registered"
    assert broker.sent("inference") == []


def test_a_request_to_load_needs_an_adapter(acme: str) -> None:
    assert "no adapter" in refusal(event("adapter.requested", acme, {}))
    adapter_id = rows.adapter(acme)
    with operator_session() as session:
        session.add(AdapterAlias(alias_id=new_id(), company_id=acme, champion_id=adapter_id))
    happen(event("adapter.requested", acme, {}))
    happen(event("adapter.requested", acme, {"adapter_id": adapter_id}))


def test_a_request_to_load_anothers_adapter_is_refused(acme: str) -> None:
    theirs = rows.adapter(rows.company("globex"))
    assert theirs in refusal(event("adapter.requested", acme, {"adapter_id": theirs}))


# Jobs.


def test_a_requested_job_is_queued_and_published(acme: str, broker: Broker) -> None:
    data = {"data": {"input": "q"}, "job_id": f"j-{acme}", "task_type": "sorting"}
    happen(event("job.requested", acme, {**data, "use_adapter": False, "metadata": {"n": 1}}))
    job = rows.get(Job, f"j-{acme}")
    assert (job.status, job.source, job.job_type) == ("admitted", "stream", "sorting")
    assert (job.input_data, job.use_adapter) == ({"data": {"input": "q"}}, False)
    assert job.details == {"n": 1}
    assert broker.rows("inference") == [(f"j-{acme}", 1)]


def test_a_job_without_an_id_takes_its_events(acme: str, broker: Broker) -> None:
    wanted = event("job.requested", acme, {"data": "q"})
    happen(wanted)
    assert rows.get(Job, wanted.event_id).status == "admitted"


def test_an_id_that_the_api_could_not_show_is_refused(acme: str) -> None:
    wanted = event("job.requested", acme, {"data": "q"}, event_id="order/7")
    assert refusal(wanted).startswith("job_id: missing, and the event's own 'order/7'")


def test_the_same_job_under_another_event_id_is_one_job(acme: str, broker: Broker) -> None:
    data = {"data": "q", "job_id": f"j-{acme}"}
    happen(event("job.requested", acme, data))
    happen(event("job.requested", acme, data))
    assert count(Job, acme) == 1
    assert len(broker.sent("inference")) == 1


def test_a_job_id_of_another_company_is_refused(acme: str) -> None:
    theirs = rows.job(rows.company("globex"))
    assert theirs in refusal(event("job.requested", acme, {"data": "q", "job_id": theirs}))


def test_our_own_news_of_a_job_has_no_effect(acme: str, broker: Broker) -> None:
    job_id = rows.job(acme)
    happen(event("job.updated", acme, {"job_id": job_id, "status": "completed"}))
    assert rows.get(Job, job_id).status == "queued"
    assert broker.sent("inference") == []


# The whole way.


def test_a_request_travels_by_relay_stream_and_consumer(
    acme: str, broker: Broker, consumer: Consumer
) -> None:
    request_id = rows.run(acme)
    relay = Relay(broker.redis, threading.Event())
    assert relay.run_once() == 1
    consume(consumer)
    assert rows.get(TrainingRun, request_id).status == "admitted"
    assert broker.rows("bridge") == [(request_id, 1)]
    assert relay.run_once() == 1, "ModelKit's stream hears of it"
    ((_, fields),) = broker.redis.xrange(streams.MODEL_EVENTS)  # type: ignore[misc]
    assert json.loads(fields[b"data"])["event"] == "lora-training-request"
    assert fields[b"correlation_id"].decode() == request_id
