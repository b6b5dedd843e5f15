"""A thread that hears a pub/sub channel for as long as the process lives, whatever Redis does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import redis
import structlog

from settings import get_settings
from synapse.streams import CONNECT_TIMEOUT_SECONDS

log = structlog.get_logger()

LISTEN_SECONDS = 5.0
RECONNECT_SECONDS = 0.5
READY_SECONDS = 3.0
# A server that is only slow must not cost the messages of a reconnection.
STALL_SECONDS = 15.0


class Listener:
    """Calls `heard(message)` for each message of `channel`, on a thread of its own.

    url: of the server, if it is not that of the settings.
    Messages published while the connection is down are lost; `heard` must not block.
    """

    def __init__(
        self, channel: str, heard: Callable[[bytes], None], url: str | None = None
    ) -> None:
        self._channel = channel
        self._url = url
        self._heard = heard
        self._joined = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"listen {channel}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait_ready(self, seconds: float = READY_SECONDS) -> bool:
        """Wait until the channel is subscribed to: what is published from then on is heard."""
        return self._joined.wait(seconds)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Does not wait: the thread ends within LISTEN_SECONDS."""
        self._stop.set()

    def _run(self) -> None:
        well = True
        while not self._stop.is_set():
            try:
                self._listen()
            except (redis.RedisError, OSError) as error:
                if well:
                    log.warning("not_listening", channel=self._channel, error=str(error))
                well = False
            else:
                well = True
            self._joined.clear()
            self._stop.wait(RECONNECT_SECONDS)

    def _listen(self) -> None:
        # redis-py does not type its pub/sub.
        client: Any = redis.Redis.from_url(
            self._url or get_settings().redis_url,
            socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
            socket_timeout=STALL_SECONDS,
            socket_keepalive=True,
            health_check_interval=LISTEN_SECONDS,
        )
        with client, client.pubsub() as channel:
            channel.subscribe(self._channel)
            while not self._stop.is_set():
                message = channel.get_message(timeout=LISTEN_SECONDS)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    self._joined.set()
                elif message["type"] == "message":
                    self._hear(message["data"])

    def _hear(self, data: bytes) -> None:
        try:
            self._heard(data)
        except Exception:  # anybody may publish: one odd message must not deafen the process
            log.exception("message_not_understood", channel=self._channel)
