"""A real bridge worker: it reads the streams and relays the outbox beside its pool."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from sqlalchemy import select

from database.models import AdapterAlias, LoraAdapter, TrainingRun
from database.session import operator_session
from database.transitions import ADAPTER
from synapse import streams
from tasks.broker import dispatch
from tests.support import rows
from tests.support.broker import Broker
from tests.support.celery_worker import CeleryWorker, row_of, worker_of
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def tables(broker: Broker) -> None:
    pass


def test_the_bridge_worker_reads_streams_runs_steps_and_leaves(
    celery_worker: Callable[..., CeleryWorker], acme: str, broker: Broker
) -> None:
    worker = celery_worker("bridge", "bridge,maintenance", "threads", 2)
    row = row_of(worker.node)
    assert (row.pid, row.queues) == (worker.pid, ["bridge", "maintenance"])

    # A step that the broker brings.
    evaluation = {
        "champion_id": None,
        "metric": "exact",
        "scores": {
            "base": {"scores": [0.0] * 40, "mean_loss": 2.0},
            "candidate": {"scores": [1.0] * 40, "mean_loss": 0.2},
        },
    }
    adapter_id = rows.claimable(ADAPTER, acme, step="decide", evaluation=evaluation)
    dispatch.publish(ADAPTER, [rows.get(LoraAdapter, adapter_id)])
    eventually(lambda: rows.get(LoraAdapter, adapter_id).status == "ready", what="the decision")
    with operator_session() as session:
        assert session.scalars(select(AdapterAlias.champion_id)).all() == [adapter_id]

    # An outside event: its run is accepted here, and the next step waits for a training worker.
    request_id = f"r-{acme}"
    broker.redis.xadd(
        streams.LORA_TRAINING_REQUESTS,
        {
            "request_id": request_id,
            "company_id": acme,
            "training_data": json.dumps(rows.LINES),
        },
    )
    (message,) = eventually(lambda: broker.sent("training"), 20, "the next step")
    assert message.task == "training.train"
    assert message.arguments == (acme, request_id, "train", 1)
    run = rows.get(TrainingRun, request_id)
    assert (run.status, run.step, run.lease_owner) == ("running", "train", None)
    assert rows.events(request_id) == ["requested", "accepted"]

    beat = row_of(worker.node).heartbeat_at
    eventually(lambda: row_of(worker.node).heartbeat_at > beat, 5, "a heartbeat")
    assert worker.terminate() == 0
    assert worker_of(worker.node) is None
