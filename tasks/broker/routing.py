"""Routing: a company's work goes to the queue of the worker that holds its adapter already.

Rendezvous hashing over the live inference workers: each company has an order of preference of its
own, and a worker that comes or goes moves only the companies that prefer it. A preference is worth
a short wait and no more: beyond a depth the common queue takes the work, for whoever is free.
"""

from __future__ import annotations

import hashlib
import threading
import time

import psycopg2
import redis
import structlog
from kombu import Queue
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from cyrex.logs import one_line
from database.claims import is_alive
from database.models import Worker
from database.session import UnsafeDatabaseRole, keyless_session
from tasks import app
from tasks.broker.queues import lists_of

log = structlog.get_logger()

COMMON_QUEUE = "inference"
DIRECT_PREFIX = "inference."
# Most messages in a direct queue: its worker's threads are all busy then.
SPILL_DEPTH = 8
# How long the list of live workers is believed.
WORKERS_SECONDS = 2.0


class LiveWorkers:
    """The inference workers that live and whose engine is ready, as this process last read them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nodes: tuple[str, ...] = ()
        self._read_at = float("-inf")

    def nodes(self) -> tuple[str, ...]:
        now = time.monotonic()
        if now - self._read_at < WORKERS_SECONDS or not self._lock.acquire(blocking=False):
            return self._nodes
        try:
            self._nodes = _ready_nodes()
        except (SQLAlchemyError, psycopg2.Error, UnsafeDatabaseRole) as error:
            log.info("workers_unknown", error=one_line(error))
            self._nodes = ()
        finally:
            self._read_at = now
            self._lock.release()
        return self._nodes

    def forget(self) -> None:
        self._read_at = float("-inf")


live_workers = LiveWorkers()


def inference_nodes(session: Session) -> list[Worker]:
    """The rows of the inference workers with a fresh heartbeat. Any role may ask."""
    query = select(Worker).where(is_alive(), Worker.queues.contains([COMMON_QUEUE]))
    return list(session.scalars(query.order_by(Worker.node)))


def _ready_nodes() -> tuple[str, ...]:
    """While an engine loads, what is sent to its worker's own queue would wait for that."""
    with keyless_session() as session:
        return tuple(row.node for row in inference_nodes(session) if row.details.get("ready"))


def direct_name(node: str) -> str:
    return f"{DIRECT_PREFIX}{node}"


def direct_queue(node: str) -> Queue:
    """The queue that only the worker `node` reads."""
    return Queue(direct_name(node))


def preferred(company_id: str, nodes: tuple[str, ...]) -> str:
    """The node that a company's work prefers, of those that live."""
    return max(nodes, key=lambda node: _weight(company_id, node))


def _weight(company_id: str, node: str) -> bytes:
    return hashlib.blake2b(f"{company_id}\0{node}".encode(), digest_size=8).digest()


def route(company_id: str, client: redis.Redis) -> str:
    """The queue to which a company's work for an engine goes now. Raises nothing."""
    nodes = live_workers.nodes()
    if len(nodes) < 2:
        return COMMON_QUEUE
    node = preferred(company_id, nodes)
    name = direct_name(node)
    try:
        depth = _depth(name, client)
    except redis.RedisError:
        return COMMON_QUEUE
    if depth >= SPILL_DEPTH:
        return COMMON_QUEUE
    if name not in app.amqp.queues:
        app.amqp.queues.add(direct_queue(node))
    return name


def _depth(queue: str, client: redis.Redis) -> int:
    pipe = client.pipeline(transaction=False)
    for key in lists_of(queue):
        pipe.llen(key)
    return sum(pipe.execute())


def hand_over_queue(node: str, client: redis.Redis) -> None:
    """Move the messages of a worker that has just died to the common queue."""
    lists = zip(lists_of(direct_name(node)), lists_of(COMMON_QUEUE), strict=True)
    try:
        for own, common in lists:
            # Workers take from the right.
            while client.lmove(own, common, "RIGHT", "LEFT") is not None:
                pass
    except redis.RedisError as error:
        log.info("queue_not_handed_over", node=node, error=str(error))


def drop_queue(node: str, client: redis.Redis) -> None:
    """Delete the queue of a worker that is gone: its rows and tickets are hinted anew."""
    name = direct_name(node)
    try:
        client.delete(*lists_of(name))
    except redis.RedisError as error:
        log.info("queue_not_dropped", node=node, error=str(error))
