"""Conversations under way: tickets and hints go out, one thread hears the replies of workers.

Nothing here holds a database session. Before the client has received anything, a lost request or
reply is sent again, up to `ATTEMPTS` times; afterwards a loss ends the answer with an error.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import redis
import structlog
from kombu.exceptions import OperationalError

from cyrex.chat.protocol import (
    CANCELS_CHANNEL,
    PULSE_EXPIRY_SECONDS,
    Ask,
    Event,
    decode,
    replies_channel,
    ticket_key,
)
from cyrex.chat.usage import Recount, Used
from cyrex.errors import Unavailable, UserError
from database.base import Json, new_id
from settings import get_settings
from tasks.broker.connection import broker
from tasks.broker.dispatch import hint_conversation
from tasks.broker.listening import Listener
from web.http.errors import broker_unavailable

log = structlog.get_logger()

LOOK_SECONDS = 1.0
# A hint that no worker has followed after this time is repeated to all workers, then at intervals
# that double.
HINT_SECONDS = 3.0
# A ticket that was taken this long ago without any reply is lost.
TAKEN_SECONDS = 8.0
ATTEMPTS = 3
BROKER_ERRORS = (redis.RedisError, OperationalError, OSError)


class ClientGone(Exception):
    """The client has closed its connection."""


class Conversations:
    """The conversations under way in this process, by call id."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listener: Listener | None = None
        self.channel = ""
        self._open: dict[str, LiveConversation] = {}
        self._recount = Recount()

    def begin(self, ask: Ask) -> LiveConversation:
        """Send `ask`; replies come to this process. Raises a 503 while the broker is down."""
        if not self._listening():
            raise broker_unavailable()
        conversation = LiveConversation(self, replace(ask, reply_to=self.channel))
        try:
            conversation.send()
        except BROKER_ERRORS as error:
            conversation.close()
            log.warning("conversation_not_sent", error=str(error))
            raise broker_unavailable() from error
        return conversation

    def add(self, call_id: str, conversation: LiveConversation) -> None:
        self._open[call_id] = conversation

    def remove(self, call_id: str) -> None:
        self._open.pop(call_id, None)

    def ended(self, ask: Ask, end: Json) -> None:
        """Have the usage of an ended answer checked: the worker may have died before it metered."""
        self._recount.add(Used.of(ask, end["prompt_tokens"], end["completion_tokens"]))

    def _listening(self) -> bool:
        """Whether the reply channel is subscribed to; the first call starts the listener."""
        with self._lock:
            if self._listener is None:
                self.channel = replies_channel(new_id())
                self._listener = Listener(self.channel, self._hear)
                self._listener.start()
                self._recount.start()
            listener = self._listener
        return listener.wait_ready()

    def _hear(self, message: bytes) -> None:
        heard = decode(message)
        for event in heard.events:
            conversation = self._open.get(event.call_id)
            if conversation is not None:
                conversation.hear(event)
        for call_id in heard.at_work:
            conversation = self._open.get(call_id)
            if conversation is not None:
                conversation.heard_at = time.monotonic()
            else:
                # Its cancel was lost.
                cancel(call_id)


class LiveConversation:
    """One answer under way, used by the thread of one client. Always close it.

    Each attempt has a call id and a ticket of its own, so that replies to an earlier one are told
    apart.
    """

    def __init__(self, conversations: Conversations, ask: Ask) -> None:
        self.heard_at = 0.0
        self._conversations = conversations
        self._ask = ask
        self._queue_seconds = get_settings().chat_queue_seconds
        self._arrived: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._asked_at = time.monotonic()
        self._sent_at = self._next_hint = self._asked_at
        self._attempt = 0
        self._call_id = ""
        self._expected = 0
        self._is_started = False
        self._has_begun = False
        self._has_ended = False

    def send(self) -> None:
        """Start an attempt: write its ticket, hint a worker. Raises the broker's errors."""
        self._conversations.remove(self._call_id)
        self._attempt += 1
        self._call_id = f"{self._ask.conversation_id}:{self._attempt}"
        self._expected = 0
        self._is_started = False
        self._conversations.add(self._call_id, self)
        self._sent_at = time.monotonic()
        self._next_hint = self._sent_at + HINT_SECONDS
        seconds = self._queue_seconds
        broker().set(ticket_key(self._call_id), self._ask.dump(), ex=math.ceil(seconds))
        hint_conversation(self._ask.company_id, self._call_id, seconds, common=self._attempt > 1)

    def hear(self, event: Event) -> None:
        """Called on the listener's thread."""
        self.heard_at = time.monotonic()
        self._arrived.put(event)

    def client_gone(self) -> None:
        """Make `next` raise ClientGone. Any thread may call this."""
        self._arrived.put(None)

    def has_more(self) -> bool:
        """Whether an event has arrived that `next` has not seen."""
        return not self._arrived.empty()

    def next(self) -> Event:
        """The next `delta`, or the `end`. Raises `UserError` and `ClientGone`."""
        while True:
            try:
                event = self._arrived.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                self._look()
                continue
            if event is None:
                raise ClientGone
            if event.call_id != self._call_id or event.number < self._expected:
                continue  # From an abandoned attempt, or a duplicate.
            if event.number > self._expected:
                self._lost("a part of the answer was lost on its way")
                continue
            self._expected += 1
            if event.kind == "started":
                self._is_started = True
            elif event.kind == "error":
                self._failed(event.value)
            else:
                self._has_begun = True
                self._has_ended = event.kind == "end"
                if self._has_ended:
                    self._conversations.ended(self._ask, event.value)
                return event

    def close(self) -> None:
        """Forget the answer, and cancel it unless it has ended."""
        self._conversations.remove(self._call_id)
        if self._has_ended:
            return
        try:
            broker().delete(ticket_key(self._call_id))
        except redis.RedisError:
            log.info("ticket_not_deleted", call_id=self._call_id)
        cancel(self._call_id)

    def _failed(self, error: Json) -> None:
        if error.get("again"):
            self._lost(error["message"])
            return
        self._has_ended = True
        raise UserError(error["code"], error["message"], error["param"], error["status"])

    def _lost(self, reason: str) -> None:
        """Start another attempt. Raises `UserError` after the client has received a piece, or after
        the last attempt."""
        log.info("answer_lost", call_id=self._call_id, reason=reason)
        cancel(self._call_id)
        if self._has_begun or self._attempt >= ATTEMPTS:
            raise Unavailable(
                "answer_lost", f"the answer broke off: {reason}; what it used is not repeated"
            )
        self._try(self.send)

    def _look(self) -> None:
        """Check an answer that has been silent for a while. Raises `UserError` when it is lost."""
        now = time.monotonic()
        if now > self._asked_at + self._queue_seconds + self._ask.seconds:
            raise UserError("deadline_exceeded", "the answer took too long", status=504)
        if self._is_started:
            if now > self.heard_at + PULSE_EXPIRY_SECONDS:
                self._lost("the worker that was at it does not answer any more")
        elif now > self._sent_at + self._queue_seconds:
            raise Unavailable("no_worker", "no inference worker was free in time; try again")
        elif now > self._next_hint:
            self._next_hint = now + 2 * (self._next_hint - self._sent_at)
            self._try(self._repeat_hint)

    def _repeat_hint(self) -> None:
        if broker().exists(ticket_key(self._call_id)):
            company_id = self._ask.company_id
            hint_conversation(company_id, self._call_id, self._queue_seconds, common=True)
        elif time.monotonic() > self._sent_at + TAKEN_SECONDS and self._arrived.empty():
            self._lost("the worker that took it was lost")

    def _try(self, act: Callable[[], Any]) -> None:
        """Act; while the broker is away, act again at the next look."""
        try:
            act()
        except BROKER_ERRORS as error:
            log.info("broker_unavailable", error=str(error))
            self._next_hint = time.monotonic() + LOOK_SECONDS


def cancel(call_id: str) -> None:
    """Tell all workers to drop this answer. A hint: a lost one is sent again when its worker
    reports that it is still at work."""
    try:
        broker().publish(CANCELS_CHANNEL, call_id)
    except redis.RedisError as error:
        log.info("cancel_not_sent", call_id=call_id, error=str(error))
