"""The only place that hands work to the broker. Loads no task and no model library."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import redis
import structlog
from celery import Signature, chain
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

from cyrex.admission import admit_rows
from cyrex.conversation import TASK
from cyrex.lease import Hint
from database.base import Json, new_id
from database.session import company_session
from database.transitions import MACHINES, Machine
from settings import get_settings
from tasks import app
from tasks.routing import COMMON_QUEUE, route

log = structlog.get_logger()

JOBS_ENDED_CHANNEL = "cyrex:jobs:ended"
PING_TIMEOUT_SECONDS = 1.0

# Which queue runs a step: what needs a GPU or an hour has a queue of its own.
QUEUES = {
    ("training", "accept"): "bridge",
    ("training", "train"): "training",
    ("training", "evaluate"): "training",
    ("training", "register"): "bridge",
    ("training", "announce"): "bridge",
    ("adapter", "fetch"): "inference",
    ("adapter", "evaluate"): "training",  # with a receipt: "bridge", see _queue
    ("adapter", "warm"): "inference",
    ("adapter", "decide"): "bridge",
    ("job", "process"): "inference",
    ("tool", "call"): "tools",
}


@lru_cache(maxsize=1)
def broker() -> redis.Redis:
    """A client for short calls: pings, wake-ups, hints."""
    return redis.Redis.from_url(
        get_settings().redis_url,
        socket_timeout=PING_TIMEOUT_SECONDS,
        socket_connect_timeout=PING_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def broker_ready() -> bool:
    try:
        return bool(broker().ping())
    except redis.RedisError:
        return False


# The broker hands out 0 before 5. Only a training can keep others waiting for long.
PRIORITIES = {("training", "train"): 5}


def _queue(machine: Machine, row: Any, step: str) -> str:
    # Looking at a receipt must not wait behind somebody's hour of training.
    if (machine.kind, step) == ("adapter", "evaluate") and row.evaluation is not None:
        return "bridge"
    queue = QUEUES[machine.kind, step]
    if (machine.kind, queue) == ("job", COMMON_QUEUE):
        return route(row.company_id, broker())
    return queue


def remaining_chain(machine: Machine, row: Any) -> Signature:
    """The tasks that a row still needs, from its step on. The only builder of a chain.

    Each task names (company, row, step, attempt); a task that cannot claim exactly that is void,
    so publishing a chain twice does nothing twice.
    """
    steps = machine.steps_from(row.step)
    return chain(
        *[
            app.signature(
                f"{machine.kind}.{step}",
                args=(row.company_id, getattr(row, machine.key), step, row.attempt),
                immutable=True,
                queue=_queue(machine, row, step),
                priority=PRIORITIES.get((machine.kind, step), 0),
            )
            for step in steps
        ]
    )


def publish(machine: Machine, rows: Iterable[Any]) -> int:
    """Send each row's remaining chain; call after the commit. Never raises on a broker failure:
    the rows stand in Postgres, and the reconciler sends what did not arrive."""
    sent = 0
    rows = list(rows)
    # A ping gives up in a second; the broker's own client tries for much longer.
    if rows and not broker_ready():
        log.warning("broker_unavailable", kind=machine.kind, rows=len(rows))
        return 0
    for row in rows:
        try:
            remaining_chain(machine, row).apply_async()
        except (OperationalError, redis.RedisError, OSError) as error:
            log.warning("broker_unavailable", kind=machine.kind, error=str(error))
            break
        sent += 1
    return sent


def publish_all(hints: Iterable[Hint]) -> None:
    """`publish` for rows of several kinds."""
    for machine, row in hints:
        publish(machine, [row])


def broadcast(command: str, arguments: Json) -> None:
    """Ask all workers for something. A hint: it may be lost."""
    if not broker_ready():
        log.info("not_broadcast", command=command)
        return
    try:
        app.control.broadcast(command, arguments=arguments)
    except (OperationalError, redis.RedisError, OSError) as error:
        log.info("not_broadcast", command=command, error=str(error))


def admit(kind: str, company_id: str) -> int:
    """Hand a company's next rows of this kind to the broker, up to its limit. Returns how many."""
    machine = MACHINES[kind]
    with company_session(company_id) as session:
        rows = admit_rows(session, machine, company_id)
    publish(machine, rows)
    return len(rows)


def hint_conversation(company_id: str, call_id: str, seconds: float, common: bool) -> None:
    """Tell a worker that a ticket is there; after `seconds` the hint is void.

    `common`: any worker, because the one that the company prefers did not take it. Raises what the
    broker raises.
    """
    queue = COMMON_QUEUE if common else route(company_id, broker())
    # As `send_task` does, but for the monitoring events, which would cost more than the rest.
    message = app.amqp.as_task_v2(
        new_id(), TASK, args=(company_id, call_id), expires=seconds, ignore_result=True
    )
    with app.producer_pool.acquire(block=True) as producer:
        app.amqp.send_task_message(producer, TASK, message, queue=queue)


def announce_end(job_id: str) -> None:
    """Tell whoever waits for a job that its row has ended. A hint: it may be lost."""
    try:
        broker().publish(JOBS_ENDED_CHANNEL, job_id)
    except redis.RedisError as error:
        log.info("end_not_announced", job_id=job_id, error=str(error))
