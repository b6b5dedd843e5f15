"""A process that runs tasks has a row in `workers`; the row's heartbeat keeps its leases alive.

With the threads pool that process is the worker itself, with prefork each pool process. A process
that takes a dead one's name (`node`) frees the leases of its predecessor at once.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from cyrex.logs import one_line
from cyrex.recovery.kinds import end
from cyrex.work.lease import Lease
from database import claims
from database.base import Json, new_id
from database.models import Worker
from database.session import operator_session
from tasks.broker import dispatch
from tasks.workers.leases import free_leases, held_by
from tasks.workers.neighbours import host_scope, start_ticks

log = structlog.get_logger()


class Presence:
    """This process's row and its heartbeat thread."""

    def __init__(
        self, node: str, queues: list[str], details: Callable[[], Json], slots: int = 1
    ) -> None:
        self.worker_id = new_id()
        self._node = node
        self._queues = queues
        self._details = details
        self._slots = slots
        # Neighbours tell by these whether this process lives; see `neighbours`.
        self._place: Json = {}
        if host_scope() is not None:
            self._place = {"host_scope": host_scope(), "start_ticks": start_ticks(os.getpid())}
        self._busy = 0
        self._counting = threading.Lock()
        self._stop = threading.Event()
        self._arrived = False
        self._strays: queue.SimpleQueue[tuple[Lease, Any, str, bool]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Register, now or as soon as the database is there, and keep the heart beating."""
        try:
            self._register(replace=True)
        except SQLAlchemyError as error:
            log.warning("not_registered_yet", error=one_line(error))
        self._thread.start()

    def stop(self) -> None:
        """Leave in good order: give back what is still held and remove the row."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2 * claims.HEARTBEAT_SECONDS)
        try:
            with operator_session() as session:
                held = held_by(session, self.worker_id)
                freed = free_leases(session, held, "the worker is leaving", counts=False)
                session.execute(delete(Worker).where(Worker.worker_id == self.worker_id))
            dispatch.publish_all(freed)
        except SQLAlchemyError as error:
            log.warning("presence_not_removed", error=one_line(error))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Around a step: a process all of whose slots are taken cannot be asked for more."""
        with self._counting:
            self._busy += 1
        try:
            yield
        finally:
            with self._counting:
                self._busy -= 1

    def _describe(self) -> Json:
        own = {"slots": self._slots, "busy": self._busy, **self._place}
        return {**own, **self._details()}

    def release_later(self, lease: Lease, row: Any, reason: str, counts: bool = False) -> None:
        """The database would not take the end of this step: free its lease when it does again."""
        self._strays.put((lease, row, reason, counts))

    def _register(self, replace: bool) -> None:
        """Insert the row. `replace`: take over the name, and the leases, of a predecessor.

        Without it a process that slept while its successor came leaves the successor alone.
        """
        mine: dict[str, Any] = {
            "worker_id": self.worker_id,
            "queues": self._queues,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "details": self._describe(),
            "started_at": func.now(),
            "heartbeat_at": func.now(),
        }
        statement = insert(Worker).values(node=self._node, **mine)
        with operator_session() as session:
            if not replace:
                session.execute(statement.on_conflict_do_nothing())
                self._arrived = True
                return
            predecessor = session.scalar(
                select(Worker.worker_id).where(Worker.node == self._node).with_for_update()
            )
            session.execute(
                statement.on_conflict_do_update(index_elements=[Worker.node], set_=mine)
            )
            held = held_by(session, predecessor) if predecessor is not None else ()
            freed = free_leases(session, held, "worker replaced")
        self._arrived = True
        # Others may go on with it long before this process is ready for anything.
        dispatch.publish_all(freed)

    def _beat(self) -> None:
        while not self._stop.wait(claims.HEARTBEAT_SECONDS):
            for duty in (self._free_strays, self._touch):
                try:
                    duty()
                except Exception as error:  # the heart must outlive whatever a beat meets
                    log.warning("heartbeat_failed", error=one_line(error))

    def _touch(self) -> None:
        values: dict[str, Any] = {"heartbeat_at": func.now()}
        try:
            values["details"] = self._describe()
        except Exception as error:  # what a process says of itself is not what it lives by
            log.warning("no_details", error=one_line(error))
        with operator_session() as session:
            known = session.execute(
                update(Worker)
                .where(Worker.worker_id == self.worker_id)
                .values(**values)
                .returning(Worker.worker_id)
            ).first()
        if known is None:
            self._register(replace=not self._arrived)

    def _free_strays(self) -> None:
        for _ in range(self._strays.qsize()):
            lease, row, reason, counts = self._strays.get()
            try:
                with operator_session() as session:
                    changed = lease.release(session, row, reason, counts)
                    if changed is not None and changed.status in lease.machine.terminal:
                        end(session, lease.machine, changed)
            except SQLAlchemyError:
                self._strays.put((lease, row, reason, counts))
                raise


_presence: Presence | None = None
_details: Callable[[], Json] = dict


def report_details(source: Callable[[], Json]) -> None:
    """Let `source` fill the row's `details` at each heartbeat, e.g. with the resident adapters."""
    global _details
    _details = source


def presence() -> Presence:
    assert _presence is not None, "no worker has started in this process"
    return _presence


def worker_id() -> str:
    return presence().worker_id


def arrive(node: str, queues: list[str], slots: int) -> None:
    """Make this process a worker that others see."""
    global _presence
    _presence = Presence(node, queues, lambda: _details(), slots)
    _presence.start()


def depart() -> None:
    """Give back what this process holds and remove its row."""
    if _presence is not None:
        _presence.stop()
