"""The broker as a test sees it: which one is used, and what lies in its queues."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from kombu import pools
from redis import Redis

from tasks import app
from tasks.broker import connection

# Between the name of a queue and the number of a priority.
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
    """A message that lies in a queue, and the tasks that its chain goes on with."""

    task: str
    arguments: tuple[Any, ...]
    then: tuple[str, ...]


class Broker:
    """The queues of this module, as a worker would find them."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    def sent(self, queue: str) -> list[Sent]:
        """The messages of a queue, in the order in which a worker takes them."""
        # One list a priority; that of 0, the first, has the queue's own name.
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
        """Lose everything, as a broker without a disk does when it restarts."""
        self.redis.flushdb()


def _read(message: dict[str, Any]) -> Sent:
    arguments, _, embedded = json.loads(base64.b64decode(message["body"]))
    # Celery keeps the rest of a chain in reverse.
    then = tuple(signature["task"] for signature in reversed(embedded["chain"] or []))
    return Sent(message["headers"]["task"], tuple(arguments), then)
