"""An inference worker's side of conversations: pieces of answers go out, cancels come in.

All that the engine's step added to all answers leaves in one pipeline of Redis, with one message
for each process of the API that waits for any of it. Steps that follow each other faster than
anybody reads share a message.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import redis
import structlog

from cyrex.chat.protocol import (
    CANCELS_CHANNEL,
    PULSE_EXPIRY_SECONDS,
    PULSE_SECONDS,
    Event,
    Kind,
    encode,
)
from tasks.broker.connection import broker
from tasks.broker.listening import Listener

log = structlog.get_logger()

RETRY_SECONDS = 0.1
# Between two messages; a model whose steps take longer than this is not slowed down by it.
GAP_SECONDS = 0.02


class Reply:
    """One answer under way, and what was said of it."""

    def __init__(self, call_id: str, channel: str, replies: Replies) -> None:
        self.call_id = call_id
        self.channel = channel
        self.cancelled = threading.Event()
        # True once a piece of the answer is on its way: it is never begun anew from then on.
        self.has_spoken = False
        self._replies = replies
        self._count = 0
        self._on_cancel: Callable[[], None] | None = None

    def say(self, kind: Kind, value: Any = None) -> None:
        """Add an event to the next message; `Replies.flush` sends it."""
        self._replies.add(self.channel, Event(self.call_id, self._count, kind, value))
        self._count += 1

    def say_piece(self, text: str, logprobs: list[Any] | None) -> None:
        """Add to the answer; what the same message holds of it already is made longer."""
        self.has_spoken = True
        event = Event(self.call_id, self._count, "delta", [text, logprobs])
        self._count += self._replies.add_piece(self.channel, event)

    def on_cancel(self, act: Callable[[], None]) -> None:
        """Call `act` when nobody wants the answer any more: at once if that is so already."""
        self._on_cancel = act
        if self.cancelled.is_set():
            act()

    def cancel(self) -> None:
        self.cancelled.set()
        if self._on_cancel is not None:
            self._on_cancel()


class Replies:
    """The thread that publishes and the one that hears cancels. One of it in a worker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, Reply] = {}
        self._said: dict[str, list[Event]] = {}
        # Values of the `delta` events in `_said`, by call id: they may still grow.
        self._pieces: dict[str, list[Any]] = {}
        self._ready = threading.Event()
        self._stop = threading.Event()
        self._cancels = Listener(CANCELS_CHANNEL, self._cancel)
        self._thread = threading.Thread(target=self._run, name="replies", daemon=True)

    def start(self) -> None:
        self._cancels.start()
        self._thread.start()

    def stop(self) -> None:
        """Send what there is, and end both threads. Does not wait for them."""
        self._stop.set()
        self._ready.set()
        self._cancels.stop()

    def open(self, call_id: str, channel: str) -> Reply:
        reply = Reply(call_id, channel, self)
        with self._lock:
            self._open[call_id] = reply
        return reply

    def close(self, reply: Reply) -> None:
        with self._lock:
            self._open.pop(reply.call_id, None)

    def add(self, channel: str, event: Event) -> None:
        with self._lock:
            self._said.setdefault(channel, []).append(event)

    def add_piece(self, channel: str, event: Event) -> bool:
        """Add to a reply. True if it became an event of its own."""
        with self._lock:
            piece = self._pieces.get(event.call_id)
            if piece is None:
                self._pieces[event.call_id] = event.value
                self._said.setdefault(channel, []).append(event)
                return True
            text, logprobs = event.value
            piece[0] += text
            if logprobs is not None:
                piece[1] = [*(piece[1] or []), *logprobs]
            return False

    def flush(self) -> None:
        """Send what there is. Waits for nothing."""
        if self._said:
            self._ready.set()

    def _cancel(self, message: bytes) -> None:
        reply = self._open.get(message.decode(errors="replace"))
        if reply is not None:
            reply.cancel()

    def _run(self) -> None:
        next_pulse = 0.0
        while not self._stop.is_set():
            self._ready.wait(max(0.0, next_pulse - time.monotonic()))
            self._ready.clear()
            at_work: dict[str, list[str]] = {}
            with self._lock:
                said, self._said, self._pieces = self._said, {}, {}
                if time.monotonic() >= next_pulse:
                    next_pulse = time.monotonic() + PULSE_SECONDS
                    for reply in self._open.values():
                        at_work.setdefault(reply.channel, []).append(reply.call_id)
            if not said and not at_work:
                continue
            try:
                self._publish({c: (said.get(c, []), at_work.get(c, [])) for c in said | at_work})
            except Exception:  # a worker without this thread would answer nobody
                log.exception("replies_lost")
            if self._more_follows(said):
                time.sleep(GAP_SECONDS)

    @staticmethod
    def _more_follows(said: dict[str, list[Event]]) -> bool:
        """True if more is expected soon: pieces follow the first one of an answer."""
        return any(event.kind != "started" for events in said.values() for event in events)

    def _publish(self, messages: dict[str, tuple[list[Event], list[str]]]) -> None:
        """Publish in one pipeline; again while Redis is away, but not longer than anybody waits."""
        give_up = time.monotonic() + PULSE_EXPIRY_SECONDS
        encoded = {channel: encode(*message) for channel, message in messages.items()}
        while True:
            pipeline = broker().pipeline(transaction=False)
            for channel, text in encoded.items():
                pipeline.publish(channel, text)
            try:
                hearers = pipeline.execute()
                break
            except redis.RedisError as error:
                if time.monotonic() > give_up:
                    log.warning("replies_lost", error=str(error))
                    return
                time.sleep(RETRY_SECONDS)
        for channel, count in zip(encoded, hearers, strict=True):
            if count == 0:
                self._nobody_hears(channel)

    def _nobody_hears(self, channel: str) -> None:
        """The process that asked is gone, and its clients with it."""
        with self._lock:
            replies = [reply for reply in self._open.values() if reply.channel == channel]
        for reply in replies:
            reply.cancel()
