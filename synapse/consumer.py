"""The consumer: every event has one effect, whatever the stream does with its entry."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from redis import Redis, ResponseError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.orm import Session

from database.base import Json
from database.session import operator_session
from synapse import wire
from synapse.envelope import Envelope, EnvelopeInvalid
from synapse.group import BATCH, MAX_TRIES, Entry, Group, Place, missing_group
from synapse.inbox import Outcome, Receipt, record, set_aside
from synapse.outage import Outage

log = logging.getLogger(__name__)

AfterCommit = Callable[[], None]
Effect = Callable[[Session, str, Envelope], AfterCommit | None]

BLOCK_MS = 500
CLAIM_IDLE_SECONDS = 30.0
RETRY_SECONDS = 0.5
# A database error repeats its statement with all values.
MAX_REASON_CHARACTERS = 2000
# Deliveries of which no failure is known: each time, the process or its database died.
MAX_DELIVERIES = 2 * MAX_TRIES


class EventRefused(Exception):
    """Raised by an effect: this event shall never have one. `reason` is for its sender."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class _Delivery:
    """An entry and what to do with it: have its effect, or (`reason`) be set aside."""

    entry: Entry
    receipt: Receipt
    envelope: Envelope | None
    reason: str | None = None


class Consumer:
    """Reads `streams` as `consumer_name` and applies `effect` to every event it has not seen.

    `effect(session, stream, envelope)` works in the transaction that writes the inbox. It must act
    through that session alone, because a failure elsewhere in the batch undoes and repeats it.
    Its return value is called after the commit; a process that dies between the two never calls it.
    A consumer's name must be its own while it lives; one that comes back under its old name goes
    on with what it left. One thread runs a consumer.
    """

    def __init__(
        self,
        redis: Redis,
        streams: Sequence[str],
        consumer_name: str,
        effect: Effect,
        stop: threading.Event,
        *,
        claim_idle_seconds: float = CLAIM_IDLE_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._group = Group(redis, streams, consumer_name, claim_idle_seconds, retry_seconds)
        self._name = consumer_name
        self._effect = effect
        self._stop = stop
        self._claim_seconds = claim_idle_seconds / 3
        self._retry_seconds = retry_seconds
        self._claim_at = self._retry_at = 0.0
        self._database_in_doubt = False
        self._failures: dict[Place, list[Json]] = {}

    def run(self) -> None:
        """Consume until `stop` is set. Outlives the absence of Redis and of Postgres."""
        outage = Outage(f"consumer {self._name}", self._stop)
        while not self._stop.is_set():
            try:
                self.run_once()
                outage.over()
            except Exception as error:  # the thread must outlive whatever a batch meets
                outage.failed(error)

    def run_once(self, block_ms: int = BLOCK_MS) -> int:
        """Handle what is there, or comes within `block_ms`; returns how many entries it had.

        First what this consumer left, then what a dead neighbour left, then what is new.
        """
        self._require_database()
        try:
            entries = self._left_over() or self._group.read_new(block_ms)
        except ResponseError as error:
            if not missing_group(error):
                raise
            self._group.create()
            return 0
        for start in range(0, len(entries), BATCH):
            self._handle(entries[start : start + BATCH])
        return len(entries)

    def _left_over(self) -> list[Entry]:
        now = time.monotonic()
        if now >= self._retry_at:
            if own := self._group.read_own():
                return own
            self._retry_at = now + self._retry_seconds
        if now >= self._claim_at:
            if neighbours := self._group.read_neighbours():
                return neighbours
            self._claim_at = now + self._claim_seconds
        return []

    def _require_database(self) -> None:
        """Read nothing that cannot be written: each delivery counts towards giving up."""
        if self._database_in_doubt:
            with operator_session() as session:
                session.execute(text("SELECT 1"))
            self._database_in_doubt = False

    def _handle(self, entries: list[Entry]) -> None:
        deliveries: dict[str, _Delivery] = {}
        for entry in entries:
            delivery = _opened(entry)
            deliveries.setdefault(delivery.receipt.event_id, delivery)
        failed, calls = self._apply(list(deliveries.values()))
        for call in calls:
            try:
                call()
            except Exception:  # a hint was not given; the reconciler gives it again
                log.exception("consumer %s: after the commit", self._name)
        done = [entry for entry in entries if entry.place not in failed]
        self._group.ack(done)
        for entry in done:
            self._failures.pop(entry.place, None)

    def _apply(self, deliveries: list[_Delivery]) -> tuple[set[Place], list[AfterCommit]]:
        """Commit a batch; returns the entries whose effect failed and what to call now.

        A savepoint for each event would cost as much as the rest: they come when one has failed.
        """
        self._database_in_doubt = True
        try:
            failed: set[Place] = set()
            calls = self._apply_together(deliveries)
        except Exception:  # found again, with its event, by the second try
            failed, calls = self._apply_each(deliveries)
        self._database_in_doubt = False
        return failed, calls

    def _apply_together(self, deliveries: list[_Delivery]) -> list[AfterCommit]:
        with operator_session() as session:
            new = record(session, [delivery.receipt for delivery in deliveries])
            calls = [self._settle(session, d) for d in deliveries if d.receipt.event_id in new]
        return [call for call in calls if call is not None]

    def _apply_each(self, deliveries: list[_Delivery]) -> tuple[set[Place], list[AfterCommit]]:
        failed: set[Place] = set()
        calls: list[AfterCommit] = []
        with operator_session() as session:
            session.connection()  # a database that is away is no event's failure
            for delivery in deliveries:
                try:
                    with session.begin_nested():
                        new = record(session, [delivery.receipt])
                        call = self._settle(session, delivery) if new else None
                except Exception as error:
                    if _connection_lost(error):
                        raise
                    if not self._set_aside_after(session, delivery, error):
                        failed.add(delivery.entry.place)
                else:
                    calls += [call] if call else []
        return failed, calls

    def _settle(self, session: Session, delivery: _Delivery) -> AfterCommit | None:
        if delivery.envelope is not None and delivery.reason is None:
            return self._effect(session, delivery.entry.stream, delivery.envelope)
        self._set_aside(session, delivery, delivery.receipt, str(delivery.reason))
        return None

    def _set_aside_after(self, session: Session, delivery: _Delivery, error: Exception) -> bool:
        """Set the event aside if it was refused or failed too often; otherwise it stays pending."""
        entry, event_id = delivery.entry, delivery.receipt.event_id
        refused = isinstance(error, EventRefused)
        reason = _described(error)
        if not refused:
            log.warning(
                "%s: event %s failed, delivery %d: %s",
                *(entry.stream, event_id, entry.deliveries, reason),
                exc_info=error,
            )
            self._failures.setdefault(entry.place, []).append(
                {
                    "at": datetime.now(UTC).isoformat(),
                    "consumer": self._name,
                    "delivery": entry.deliveries,
                    "reason": reason,
                }
            )
            if entry.deliveries < MAX_TRIES:
                return False
        outcome: Outcome = "refused" if refused else "gave_up"
        receipt = Receipt(event_id, entry.stream, entry.entry_id, outcome)
        if record(session, [receipt]):
            self._set_aside(session, delivery, receipt, reason)
        return True

    def _set_aside(
        self, session: Session, delivery: _Delivery, receipt: Receipt, reason: str
    ) -> None:
        entry = delivery.entry
        set_aside(
            session,
            receipt,
            wire.printable(reason),
            wire.readable(entry.fields),
            delivery.envelope.company_id if delivery.envelope else None,
            self._failures.get(entry.place, []),
        )
        log.warning("%s: entry %s set aside: %s", entry.stream, entry.entry_id, reason)


def _opened(entry: Entry) -> _Delivery:
    def receipt(event_id: str, outcome: Outcome) -> Receipt:
        return Receipt(event_id, entry.stream, entry.entry_id, outcome)

    try:
        envelope = Envelope.parse(entry.stream, entry.fields)
    except EnvelopeInvalid as error:
        # It names no event, so its place in the stream is all there is to know it by.
        place = f"{entry.stream}/{entry.entry_id}"
        return _Delivery(entry, receipt(place, "invalid"), None, error.reason)
    if entry.deliveries > MAX_DELIVERIES:
        reason = f"delivered {entry.deliveries} times, and no effect ended in success or failure"
        return _Delivery(entry, receipt(envelope.event_id, "gave_up"), envelope, reason)
    return _Delivery(entry, receipt(envelope.event_id, "applied"), envelope)


def _connection_lost(error: Exception) -> bool:
    """Whether the whole transaction is gone, and not one event's savepoint."""
    return isinstance(error, PendingRollbackError) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )


def _described(error: Exception) -> str:
    said = error.reason if isinstance(error, EventRefused) else f"{type(error).__name__}: {error}"
    return wire.printable(said)[:MAX_REASON_CHARACTERS]
