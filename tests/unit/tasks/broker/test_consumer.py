"""A worker asks for messages only while it can do what they ask."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from kombu.transport.virtual import QoS

from tasks.broker import consumer


def test_a_worker_takes_while_every_condition_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "_conditions", [])
    state = {"engine": True}
    consumer.take_only_while(lambda: state["engine"])
    qos = QoS(SimpleNamespace(do_restore=False), prefetch_count=1)
    parent = SimpleNamespace(
        task_consumer=SimpleNamespace(channel=SimpleNamespace(qos=qos)), steps=[]
    )
    consumer.PauseConsuming(parent).start(parent)
    assert qos.can_consume()
    state["engine"] = False
    assert not qos.can_consume()
    state["engine"] = True
    qos.append("a message", 1)
    assert not qos.can_consume(), "Celery's own question is still asked"


def test_the_step_is_one_of_every_consumers() -> None:
    from tasks import app

    assert consumer.PauseConsuming in app.steps["consumer"]
