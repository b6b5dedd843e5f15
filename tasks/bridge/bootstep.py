"""The bridge: in a worker of queue `bridge`, a bootstep reads Synapse and relays the outbox."""

from __future__ import annotations

import threading
from typing import Any

import structlog
from celery import bootsteps

from synapse.consumer import Consumer
from synapse.relay import Relay
from synapse.streams import CONSUMED, connect
from tasks import app
from tasks.bridge.effects import effect

log = structlog.get_logger()

QUEUE = "bridge"
STOP_SECONDS = 10.0


class Bridge(bootsteps.StartStopStep):
    """Two threads beside the worker's pool, each with its own connections."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.enabled = QUEUE in parent.app.amqp.queues.consume_from
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, parent: Any) -> None:
        consumer = Consumer(connect(), CONSUMED, parent.hostname, effect, self._stop)
        relay = Relay(connect(), self._stop)
        for name, target in (("consumer", consumer.run), ("relay", relay.run)):
            thread = threading.Thread(target=target, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self, parent: Any) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=STOP_SECONDS)

    terminate = stop


app.steps["worker"].add(Bridge)
