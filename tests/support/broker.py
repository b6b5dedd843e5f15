"""The broker in tests: choose one, and read its queues."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from kombu import pools
from redis import Redis

from tasks import app
from tasks.broker import connection

# kombu's separator between a queue's name and a priority's number.
PRIORITY = "\x06\x16"


def use_broker(url: str) -> None:
    """Point the Celery application, which reads its settings once, at `url`."""
    connection.broker.cache_clear()
    pools.reset()
    celery: Any = app
    celery._pool = None
    celery.amqp._producer_pool = None
    celery.conf.broker_url = url


@dataclass(frozen=True)
class Sent:
    """A message in a queue. `then`: the later tasks of its chain."""

    task: str
    arguments: tuple[Any, ...]
    then: tuple[str, ...]


class Broker:
    """The queues of this test module's Redis."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    def sent(self, queue: str) -> list[Sent]:
        """The messages of a queue, in the order in which a worker takes them."""
        # One list a priority; the list of priority 0 has the queue's own name.
        names = [queue, *(f"{queue}{PRIORITY}{number}" for number in range(1, 10))]
        raw: list[Any] = [text for name in names for text in self._list(name)[::-1]]
        return [_read(json.loads(text)) for text in raw]

    def _list(self, name: str) -> list[Any]:
        found: Any = self.redis.lrange(name, 0, -1)
        return list(found)

    def rows(self, queue: str) -> list[tuple[str, int]]:
        """(row, attempt) of the messages of a queue, oldest first."""
        return [(message.arguments[1], message.arguments[3]) for message in self.sent(queue)]

    def forget(self) -> None:
        """Delete everything, as the restart of a broker without a disk does."""
        self.redis.flushdb()


def _read(message: dict[str, Any]) -> Sent:
    arguments, _, embedded = json.loads(base64.b64decode(message["body"]))
    # Celery stores the rest of a chain in reverse order.
    then = tuple(signature["task"] for signature in reversed(embedded["chain"] or []))
    return Sent(message["headers"]["task"], tuple(arguments), then)
