"""The only place that hands work to the broker. Loads no task and no model library."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import redis
import structlog
from celery import Signature

# The types are of a kombu that had no batches.
from kombu.exceptions import BatchPublishError, OperationalError  # type: ignore[attr-defined]

from cyrex.chat.protocol import TASK
from cyrex.work.admission import admit_companies, admit_rows
from cyrex.work.lease import Hint
from database.base import Json, new_id
from database.session import company_session, operator_session
from database.transitions import MACHINES, Machine
from tasks import app
from tasks.broker.chains import remaining_chain
from tasks.broker.connection import broker, broker_alive, broker_ready
from tasks.broker.routing import COMMON_QUEUE, DIRECT_PREFIX, route

log = structlog.get_logger()

# The task that follows a person's decision about an adapter.
SETTLE = "adapter.settle"
JOBS_ENDED_CHANNEL = "cyrex:jobs:ended"
# How many messages go to the broker in one round trip.
PORTION = 100


def publish(machine: Machine, rows: Iterable[Any]) -> int:
    """Send each row's remaining chain; call after the commit. Never raises on a broker failure:
    the rows stand in Postgres, and the reconciler sends what did not arrive."""
    return publish_all([(machine, row) for row in rows])


def publish_all(hints: Iterable[Hint]) -> int:
    """`publish` for rows of several kinds, over one connection."""
    hints = list(hints)
    if not hints:
        return 0
    # This gives up in a second; the broker's own client tries for much longer.
    if not broker_alive():
        log.warning("broker_unavailable", rows=len(hints))
        return 0
    sent = 0
    pool: Any = app.producer_pool
    try:
        with pool.acquire(block=True) as producer:
            for some in _portions(hints):
                with producer.batch() as batch:
                    for machine, row in some:
                        signature = remaining_chain(machine, row)
                        options = signature.options
                        _send(
                            producer,
                            str(signature.task),
                            signature.args,
                            options["queue"],
                            priority=options["priority"],
                            chain=options.get("chain"),
                        )
                        if options["queue"].startswith(DIRECT_PREFIX):
                            # How long that queue is decides where the next one goes.
                            batch.flush()
                sent += len(some)
    except (OperationalError, BatchPublishError, redis.RedisError, OSError) as error:
        log.warning("broker_unavailable", rows=len(hints) - sent, error=str(error))
    return sent


def _portions(hints: Sequence[Hint]) -> Iterator[Sequence[Hint]]:
    """Each goes to the broker in one round trip."""
    for start in range(0, len(hints), PORTION):
        yield hints[start : start + PORTION]


def _send(
    producer: Any,
    name: str,
    args: Any,
    queue: str,
    *,
    priority: int = 0,
    chain: list[Signature] | None = None,
    expires: float | None = None,
) -> None:
    """As `apply_async` does, without what would cost as much: the event that a task was sent, the
    careful printing of arguments that are a few ids, and the declaration of a queue that its name
    alone finds."""
    message = app.amqp.as_task_v2(
        new_id(),
        name,
        args=args,
        argsrepr=repr(tuple(args)),
        kwargsrepr="{}",
        chain=chain,
        expires=expires,
        ignore_result=True,
    )
    app.amqp.send_task_message(producer, name, message, queue=queue, priority=priority, declare=[])


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


def admit_many(kind: str, company_ids: Collection[str]) -> int:
    """`admit` for many companies at once. Returns how many rows."""
    machine = MACHINES[kind]
    with operator_session() as session:
        rows = admit_companies(session, machine, company_ids)
    return publish(machine, rows)


def hint_conversation(company_id: str, call_id: str, seconds: float, common: bool) -> None:
    """Tell a worker that a ticket is there; after `seconds` the hint is void.

    `common`: any worker, because the one that the company prefers did not take it. Raises what the
    broker raises.
    """
    queue = COMMON_QUEUE if common else route(company_id, broker())
    with app.producer_pool.acquire(block=True) as producer:
        _send(producer, TASK, (company_id, call_id), queue, expires=seconds)


def hint_settle(company_id: str) -> None:
    """Ask the bridge to settle what a person has decided (`cyrex.adapters.disposal`). A hint: the
    sweep makes good what matters of it. Raises what the broker raises."""
    with app.producer_pool.acquire(block=True) as producer:
        _send(producer, SETTLE, (company_id,), "bridge")


def announce_end(job_id: str) -> None:
    """Tell whoever waits for a job that its row has ended. A hint: it may be lost."""
    try:
        broker().publish(JOBS_ENDED_CHANNEL, job_id)
    except redis.RedisError as error:
        log.info("end_not_announced", job_id=job_id, error=str(error))
