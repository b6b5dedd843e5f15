"""Readiness: Redis that takes nothing, and queues with and without workers."""

from __future__ import annotations

from typing import Any

from flask import Flask
from sqlalchemy import delete, func, text, update

from database import session as sessions
from database.models import Canary, Worker
from synapse.streams import connect
from tasks import app as celery_app
from tests.support.web import Api
from web.shapes.health import Readiness


def test_a_redis_that_is_full_is_not_ready(anyone: Api, redis_url: str) -> None:
    """It answers every ping, and takes nothing."""
    client = connect(redis_url)
    client.config_set("maxmemory", "1")
    try:
        assert client.ping()
        ready = anyone.get("/readyz")
        assert ready.status_code == 503
        assert Readiness.model_validate(ready.json).down == ["redis"]
    finally:
        client.config_set("maxmemory", "0")
        client.close()
    assert anyone.get("/readyz").status_code == 200


def test_live_workers_are_reported_by_queue(anyone: Api, app: Flask) -> None:
    def row(node: str, queues: list[str], **times: Any) -> Worker:
        return Worker(node=node, queues=queues, host="h", pid=1, **times)

    stale = func.now() - text("interval '1 minute'")
    with sessions.operator_session() as session:
        session.add(row("inference@a", ["inference"]))
        session.add(row("inference@b", ["inference"]))
        session.add(row("bridge@a", ["bridge", "maintenance"]))
        session.add(row("training@a", ["training"], heartbeat_at=stale))
    ready = anyone.get("/readyz")
    assert ready.status_code == 200
    state = Readiness.model_validate(ready.json)
    assert state.status == "degraded", "nobody trains, and nobody calls tools"
    assert state.workers == {
        "inference": 2,
        "training": 0,
        "bridge": 1,
        "tools": 0,
        "maintenance": 1,
    }


def test_strictly_ready_is_who_has_workers_that_work(anyone: Api, app: Flask) -> None:
    names = [str(queue.name) for queue in celery_app.conf.task_queues]
    with sessions.operator_session() as session:
        session.execute(delete(Worker))
        session.add(Worker(node="all@a", queues=names, host="h", pid=1, details={"slots": 2}))
        for name in names:
            session.merge(Canary(queue=name, node="all@a", seconds=0.1, seen_at=func.now()))
    ready = anyone.get("/readyz?strict=true")
    assert (ready.status_code, ready.json["status"]) == (200, "ready")  # type: ignore[index]
    stale = func.now() - text("interval '1 minute'")
    with sessions.operator_session() as session:
        # Its heart beats, and nothing that is sent to it arrives.
        session.execute(update(Worker).values(started_at=stale))
        session.execute(update(Canary).where(Canary.queue == "inference").values(seen_at=stale))
    state = Readiness.model_validate(anyone.get("/readyz").json)
    assert (state.status, state.down) == ("degraded", [])
    assert state.queues is not None
    assert state.queues["inference"].status == "stuck"
    strict = anyone.get("/readyz?strict=true")
    assert strict.status_code == 503
    assert Readiness.model_validate(strict.json).down == ["inference"]
