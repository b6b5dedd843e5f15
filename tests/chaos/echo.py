"""Sends every entry that the platform puts on a stream twice more: at least once, made certain."""

from __future__ import annotations

import threading
from typing import Any

import redis

from tests.chaos.checks.rest import CONSUMED

MORE = 2
BATCH = 500
BLOCK_MS = 500
PAUSE_SECONDS = 0.2


class Echo:
    """A thread that reads the streams on its own account. `copies` is what it has added."""

    def __init__(self, redis_url: str) -> None:
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=3, socket_connect_timeout=3)
        self._after: dict[str, Any] = dict.fromkeys(CONSUMED, "0")
        self._sent: set[bytes] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.copies = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._once()
            except redis.RedisError:
                # What it was about to copy stays single. Ids are times: its places hold.
                self._stop.wait(PAUSE_SECONDS)

    def _once(self) -> None:
        answer: Any = self._redis.xread(self._after, count=BATCH, block=BLOCK_MS)
        pipe = self._redis.pipeline(transaction=False)
        copies = 0
        for stream, entries in answer or []:
            for entry_id, fields in entries:
                self._after[stream.decode()] = entry_id
                event_id = fields.get(b"event_id")
                if fields.get(b"source") == b"cyrex" and event_id not in self._sent:
                    self._sent.add(event_id)
                    copies += MORE
                    for _ in range(MORE):
                        pipe.xadd(stream, fields)
        pipe.execute()
        self.copies += copies
