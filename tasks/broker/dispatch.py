"""The only place that hands work to the broker. Loads no task and no model library."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import redis
import structlog
from celery import Signature

# The types are of a kombu that had no batches.
from kombu.exceptions import BatchPublishError, OperationalError  # type: ignore[attr-defined]
from redis.backoff import NoBackoff
from redis.retry import Retry

from cyrex.chat.protocol import TASK
from cyrex.work.admission import admit_companies, admit_rows
from cyrex.work.lease import Hint
from database.base import Json, new_id
from database.session import company_session, operator_session
from database.transitions import MACHINES, Machine
from settings import get_settings
from tasks import app
from tasks.broker.pulse import Pulse
from tasks.broker.routing import COMMON_QUEUE, DIRECT_PREFIX, route

log = structlog.get_logger()

JOBS_ENDED_CHANNEL = "cyrex:jobs:ended"
PING_TIMEOUT_SECONDS = 1.0
PROBE_KEY = "cyrex:probe"
PROBE_SECONDS = 10
PORTION = 100


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


_pulse = Pulse(lambda: broker())


def broker_alive() -> bool:
    """Whether it answers, or did a moment ago and has not gone since. Costs nearly nothing."""
    return _pulse.beats()


def broker_writable() -> bool:
    """Whether it takes what it is given: a broker that is full or read-only answers a ping."""
    try:
        return bool(broker().set(PROBE_KEY, "1", ex=PROBE_SECONDS))
    except redis.RedisError:
        return False


# The broker hands out what has a lower number first (see `priority_steps`). Only a training can
# keep others waiting for long. What has lost its worker has waited its turn once.
PRIORITY = 3
PRIORITIES = {("training", "train"): 5}
AGAIN = 0


def _queue(machine: Machine, row: Any, step: str) -> str:
    # Looking at a receipt must not wait behind somebody's hour of training.
    if (machine.kind, step) == ("adapter", "evaluate") and row.evaluation is not None:
        return "bridge"
    queue = machine.queues[step]
    if (machine.kind, queue) == ("job", COMMON_QUEUE):
        # A preference is for a first try: whoever is free goes on with what came to nothing.
        again = row.history or (row.publications or 0) > 1
        return COMMON_QUEUE if again else route(row.company_id, broker())
    return queue


def _priority(machine: Machine, row: Any, step: str) -> int:
    if (machine.kind, step) in PRIORITIES:
        return PRIORITIES[machine.kind, step]
    return AGAIN if row.history and step == row.step else PRIORITY


def remaining_chain(machine: Machine, row: Any) -> Signature:
    """The tasks that a row still needs, from its step on. The only builder of a chain.

    The first task carries the others, the last one first: what Celery's own `chain` comes to,
    without the copies that it makes on the way. Each task names (company, row, step, attempt); a
    task that cannot claim exactly that is void, so publishing a chain twice does nothing twice.
    """
    first, *rest = (
        app.signature(
            f"{machine.kind}.{step}",
            args=(row.company_id, getattr(row, machine.key), step, row.attempt),
            immutable=True,
            queue=_queue(machine, row, step),
            priority=_priority(machine, row, step),
        )
        for step in machine.steps_from(row.step)
    )
    if rest:
        first.options["chain"] = rest[::-1]
    return first


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


def announce_end(job_id: str) -> None:
    """Tell whoever waits for a job that its row has ended. A hint: it may be lost."""
    try:
        broker().publish(JOBS_ENDED_CHANNEL, job_id)
    except redis.RedisError as error:
        log.info("end_not_announced", job_id=job_id, error=str(error))
