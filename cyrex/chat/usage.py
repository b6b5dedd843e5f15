"""Usage of conversations: each is metered once, by a thread that no answer waits for.

The worker that answered meters; the API, which has seen the end of the answer too, looks a little
later whether that worker lived to do it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import psycopg2
import structlog
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from cyrex.chat.protocol import Ask
from cyrex.logs import one_line
from database.base import new_id
from database.models import Usage
from database.session import company_session, operator_session

log = structlog.get_logger()

KIND = "conversation"
# While the database is away, at most this many rows wait; more are only logged.
MAX_WAITING = 100_000
RETRY_SECONDS = 1.0
AWAY = (OperationalError, InterfaceError, PoolTimeout, psycopg2.OperationalError)
STOP_SECONDS = 5.0
# After this time a worker that lives has metered its answer.
RECOUNT_SECONDS = 5.0
LOOK_SECONDS = 1.0
RECOUNT_ROWS = 2000


@dataclass(frozen=True, slots=True)
class Used:
    """The usage of one answer. A second row with the same `reference` changes nothing."""

    company_id: str
    reference: str
    adapter_id: str | None
    prompt_tokens: int
    completion_tokens: int

    @classmethod
    def of(cls, ask: Ask, prompt_tokens: int, completion_tokens: int) -> Used:
        """The usage of the answer to `ask`."""
        return cls(
            ask.company_id,
            ask.conversation_id,
            ask.adapter_id,
            prompt_tokens,
            completion_tokens,
        )


def write_usage(company_id: str, rows: Sequence[Used]) -> None:
    """Insert rows of one company in one transaction."""
    values = [{"id": new_id(), "kind": KIND, **asdict(row)} for row in rows]
    with company_session(company_id) as session:
        session.execute(insert(Usage).values(values).on_conflict_do_nothing())


class Meter:
    """Answers that end together are written together, company by company."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Used | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, used: Used) -> None:
        if self._waiting.qsize() < MAX_WAITING:
            self._waiting.put(used)
        else:
            log.error("not_metered", **asdict(used))

    def stop(self) -> None:
        """Write the waiting rows, and end."""
        self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        stopping = False
        while not stopping or not self._waiting.empty():
            batch = [self._waiting.get()]
            while not self._waiting.empty():
                batch.append(self._waiting.get())
            stopping = stopping or None in batch
            failed = self._write([used for used in batch if used is not None])
            for used in failed:
                if stopping:
                    log.error("not_metered", **asdict(used))
                else:
                    self._waiting.put(used)
            if failed:
                time.sleep(RETRY_SECONDS)

    def _write(self, batch: list[Used]) -> list[Used]:
        """Returns the rows that the database would not take."""
        by_company: dict[str, list[Used]] = {}
        for used in batch:
            by_company.setdefault(used.company_id, []).append(used)
        failed: list[Used] = []
        for company_id, rows in by_company.items():
            try:
                write_usage(company_id, rows)
            except AWAY as error:
                log.warning("metering_postponed", rows=len(rows), error=one_line(error))
                failed += rows
            except Exception as error:  # of a company that is gone, say; the others are metered
                log.error(
                    "not_metered", company_id=company_id, rows=len(rows), error=one_line(error)
                )
        return failed


class Recount:
    """Meters the answers whose worker died before it had: each is looked for once, in batches."""

    def __init__(self) -> None:
        self._ended: deque[tuple[float, Used]] = deque(maxlen=MAX_WAITING)
        self._meter = Meter()
        self._thread = threading.Thread(target=self._run, name="recount", daemon=True)

    def start(self) -> None:
        self._meter.start()
        self._thread.start()

    def add(self, used: Used) -> None:
        """This answer has just ended."""
        self._ended.append((time.monotonic(), used))

    def _run(self) -> None:
        due: list[Used] = []
        while True:
            time.sleep(LOOK_SECONDS)
            due += self._due(RECOUNT_ROWS - len(due))
            try:
                missing = _unmetered(due) if due else []
            except AWAY as error:
                log.warning("recount_postponed", rows=len(due), error=one_line(error))
                continue
            except Exception as error:  # the next ones are looked for all the same
                log.error("not_recounted", rows=len(due), error=one_line(error))
                missing = []
            for used in missing:
                log.warning("metered_late", **asdict(used))
                self._meter.add(used)
            due = []

    def _due(self, most: int) -> list[Used]:
        found: list[Used] = []
        before = time.monotonic() - RECOUNT_SECONDS
        while len(found) < most and self._ended and self._ended[0][0] < before:
            found.append(self._ended.popleft()[1])
        return found


def _unmetered(rows: Sequence[Used]) -> list[Used]:
    with operator_session() as session:
        wanted = [used.reference for used in rows]
        known = set(session.scalars(select(Usage.reference).where(Usage.reference.in_(wanted))))
    return [used for used in rows if used.reference not in known]
