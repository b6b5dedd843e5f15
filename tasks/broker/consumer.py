"""A worker's connection to the broker: it outlives the broker's death, and is back soon.

Three things differ from Celery's own consumer. When the connection dies between the reading and the
acknowledging of a message, Celery (5.7) tries to give that message back, or to acknowledge it once
its task has ended, over the dead connection, and the whole worker ends with an AttributeError; here
the message is let go, for it is a hint and the reconciler gives it again. A lost broker is
asked for several times a second at first and every two seconds later, not every thirty. And a
worker can stop taking messages for a while, which leaves them to others.

A broker that refuses what it is told, because it is full or its disk is, is asked again every
second.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import bootsteps
from celery.worker import consumer
from redis import ResponseError

from tasks import app

# Pauses between two tries to connect, in seconds.
RETRY = {"interval_start": 0.2, "interval_step": 0.2, "interval_max": 2.0}
# Pause before a broker that answers, and refuses, is asked again.
REFUSED_SECONDS = 1.0


class ReconnectingConsumer(consumer.Consumer):
    def on_connection_error_after_connected(self, exc: Exception) -> None:
        let_go(self.connection)
        super().on_connection_error_after_connected(exc)
        if isinstance(exc, ResponseError):
            time.sleep(REFUSED_SECONDS)

    def ensure_connected(self, conn: Any) -> Any:
        conn.ensure_connection = partial(conn.ensure_connection, **RETRY)
        return super().ensure_connected(conn)


def let_go(connection: Any) -> None:
    """Give no message back, and acknowledge none, over a connection that has died."""
    transport = getattr(connection, "_transport", None)
    for channel in list(getattr(transport, "channels", ())):
        channel.do_restore = False
        channel.basic_ack = channel.basic_reject = _too_late


def _too_late(*_arguments: Any, **_options: Any) -> None:
    """Do nothing: the connection is gone."""


_conditions: list[Callable[[], bool]] = []


def take_only_while(condition: Callable[[], bool]) -> None:
    """Have this worker ask for messages only while `condition` holds. It is asked often."""
    _conditions.append(condition)


class PauseConsuming(bootsteps.StartStopStep):
    """Takes messages only while the conditions hold and, as Celery asks, a thread is free."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        qos = parent.task_consumer.channel.qos
        has_room = qos.can_consume
        qos.can_consume = lambda: all(holds() for holds in _conditions) and has_room()


app.steps["consumer"].add(PauseConsuming)
