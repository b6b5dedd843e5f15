"""A process that runs tasks has a row in `workers`; the row's heartbeat keeps its leases alive.

With the threads pool that process is the worker itself, with prefork each pool process. A process
that takes a dead one's name (`node`) frees the leases of its predecessor at once.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from billiard.process import current_process
from celery.signals import (
    setup_logging,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

import celeryconfig
from cyrex.host.folders import check_folders
from cyrex.logs import configure_logging, one_line
from cyrex.recovery.kinds import end
from cyrex.work.lease import Hint
from database import claims
from database.base import Json, new_id
from database.models import Worker
from database.session import dispose, operator_session
from database.transitions import MACHINES, Machine
from settings import SettingsError, get_settings
from tasks.broker import dispatch
from tasks.workers.neighbours import born, home

log = structlog.get_logger()

# Queues whose tasks keep files on this machine.
STORING = {"inference", "training", "bridge"}

# Shared with forked pool processes, which get no signal of a shutdown themselves.
leaving = multiprocessing.get_context("fork").Event()


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
        # By these a neighbour sees whether this process lives; see `neighbours`.
        self._place: Json = {"home": home(), "born": born(os.getpid())} if home() else {}
        self._busy = 0
        self._counting = threading.Lock()
        self._stop = threading.Event()
        self._arrived = False
        self._strays: queue.SimpleQueue[tuple[Machine, Any, str, bool]] = queue.SimpleQueue()
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

    def release_later(self, machine: Machine, row: Any, reason: str, counts: bool = False) -> None:
        """The database would not take the end of this step: free its lease when it does again."""
        self._strays.put((machine, row, reason, counts))

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
            machine, row, reason, counts = self._strays.get()
            try:
                with operator_session() as session:
                    changed = claims.release(session, machine, row, self.worker_id, reason, counts)
                    if changed is not None and changed.status in machine.terminal:
                        end(session, machine, changed)
            except SQLAlchemyError:
                self._strays.put((machine, row, reason, counts))
                raise


def free_leases(
    session: Session, held: Iterable[Hint], reason: str, counts: bool = True
) -> list[Hint]:
    """Give back the leases of these rows; one that has failed too often ends.

    Returns what the broker is to hear of after the commit.
    """
    hints: list[Hint] = []
    for machine, row in held:
        owner = str(row.lease_owner)
        changed = claims.release(session, machine, row, owner, reason, counts)
        if changed is None:
            continue
        log.info("lease_freed", kind=machine.kind, owner=owner, status=changed.status)
        if changed.status in machine.terminal:
            hints += end(session, machine, changed)
        else:
            changed.published_at = func.now()
            hints.append((machine, changed))
    return hints


def held_by(session: Session, owner: str) -> Iterator[Hint]:
    """The rows whose leases this worker has."""
    for machine in MACHINES.values():
        for row in claims.owned_by(session, machine, owner):
            yield machine, row


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


def _arrive(node: str, queues: list[str], slots: int) -> None:
    global _presence
    _presence = Presence(node, queues, lambda: _details(), slots)
    _presence.start()


@setup_logging.connect
def _logging(**_kwargs: Any) -> None:
    configure_logging(get_settings().log_level, celeryconfig.TICKS)


@worker_init.connect
def _remember(sender: Any = None, **_kwargs: Any) -> None:
    """In the worker's main process, before any pool process is forked."""
    queues = sorted(sender.app.amqp.queues.consume_from)
    if STORING.intersection(queues):
        try:
            check_folders(get_settings())
        except SettingsError as error:
            raise SystemExit(f"settings: {error}") from None
    os.environ["CYREX_NODE"] = sender.hostname
    os.environ["CYREX_QUEUES"] = ",".join(queues)
    forking = "prefork" in str(getattr(sender.pool_cls, "__module__", sender.pool_cls))
    if not forking:
        _arrive(sender.hostname, queues, int(sender.concurrency or 1))


@worker_process_init.connect
def _pool_process(**_kwargs: Any) -> None:
    """In each forked pool process: sockets of the parent must not be shared."""
    dispose(close=False)
    index = getattr(current_process(), "index", 0)
    node = f"{os.environ['CYREX_NODE']}/{index}"
    _arrive(node, os.environ["CYREX_QUEUES"].split(","), slots=1)


@worker_ready.connect
def _ready(**_kwargs: Any) -> None:
    ready_file = get_settings().ready_file
    if ready_file is not None:
        ready_file.parent.mkdir(parents=True, exist_ok=True)
        ready_file.touch()


@worker_shutting_down.connect
def _leave(**_kwargs: Any) -> None:
    leaving.set()


@worker_process_shutdown.connect
@worker_shutdown.connect
def _gone(**_kwargs: Any) -> None:
    if _presence is not None:
        _presence.stop()
