"""A run: a stack of its own, work and disturbances side by side, rest, and the audit."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import redis

from embedded import Stack
from tests.chaos import ledger, operations, timings, tools
from tests.chaos.audit import Report, audit
from tests.chaos.checks.rest import CONSUMED, groups_of
from tests.chaos.checks.sources import STUCK, Sources
from tests.chaos.customer import Customer
from tests.chaos.disturbance import Disturbance, Record
from tests.chaos.echo import Echo
from tests.chaos.kill_points import VARIABLE
from tests.chaos.plan import OPEN_AT_ONCE, Action, Item, portions, schedule, work
from tests.chaos.rows import Rows

TABLE = "tests.chaos.table:table"
ASKERS = 12
# Without any progress for so long, what still stands is stuck.
PATIENCE_SECONDS = 90.0
# What moves for so long, and comes to no end, is stuck too.
UNREST_SECONDS = 1800.0
# A reconciler that gave a hint may be giving the next one: rest must last.
REST_SECONDS = 3.0
POLL_SECONDS = 0.5
ROUNDS_OF_REPLAY = 3
SHOWN = 20
SLOWEST = 10


@dataclass(frozen=True)
class Options:
    seed: int
    jobs: int
    data_dir: Path
    kills_only: bool = False
    trainings: int | None = None
    registry: str = "mlflow"


def run(options: Options) -> tuple[Report, dict[str, Any]]:
    """Returns the audit's report and the figures of the last line."""
    items = work(options.seed, options.jobs, options.trainings)
    actions = schedule(options.seed, options.jobs, options.kills_only)
    say(f"seed {options.seed}: {len(items)} pieces of work, {len(actions)} disturbances")
    stack = _stack(options)
    with stack:
        folder = stack.layout.root / "chaos"
        folder.mkdir(exist_ok=True)
        book = ledger.Ledger(folder / "asked.jsonl")
        server = tools.ToolServer(folder / "tools.jsonl")
        try:
            record, seconds, copies = _storm(stack, options, items, actions, book, server)
            return _verdict(stack, options, record, seconds, copies)
        finally:
            server.close()
            book.close()


def _stack(options: Options) -> Stack:
    points = options.data_dir.resolve() / "chaos" / "points"
    own = {
        VARIABLE: str(points),
        "TRAINING_THREADS": "1",
        "TOOL_ALLOWED_HOSTS": "127.0.0.1",
        "MODEL_REGISTRY_TYPE": options.registry,
        # A job may be killed more than once, and Redis sleeps for a minute.
        "JOB_SECONDS": "1800",
        "AGENT_SECONDS": "1800",
        "MAX_NEW_TOKENS": "64",
    }
    own |= dict.fromkeys(
        ("DATA_DIR", "BLOB_DIR", "WORK_DIR", "ADAPTER_CACHE_DIR", "MODEL_REGISTRY_PATH"), ""
    )
    own |= dict.fromkeys(("DATABASE_URL", "REDIS_URL", "MLFLOW_TRACKING_URI"), "")
    return Stack(options.data_dir, env=own, table=TABLE, fresh=True)


def _storm(
    stack: Stack,
    options: Options,
    items: list[Item],
    actions: list[Action],
    book: ledger.Ledger,
    server: tools.ToolServer,
) -> tuple[Record, float, int]:
    environment = stack.environment
    key = Path(environment["CYREX_OPERATOR_KEY_FILE"]).read_text().strip()
    url, redis_url = environment["CYREX_API_URL"], environment["REDIS_URL"]
    customer = Customer(url, key, redis_url, book, options.seed)
    customer.settle_in(server)
    disturbance = Disturbance(stack, stack.layout.root / "chaos" / "points")
    echo = Echo(redis_url)
    echo.start()
    began = time.monotonic()
    rows = Rows(environment["DATABASE_URL"])
    asked: list[Future[None]] = []
    with ThreadPoolExecutor(ASKERS) as askers:
        parts = iter(portions(items, actions))
        for action in actions:
            asked += [askers.submit(customer.ask, item) for item in next(parts)]
            time.sleep(action.gap)
            _until_few(rows, asked)
            say(f"{time.monotonic() - began:6.1f} s  {action}  open {_open(rows)}")
            disturbance.do(action)
        asked += [askers.submit(customer.ask, item) for item in next(parts)]
    record = disturbance.finish()
    failed = [each.exception() for each in asked]
    record.unheard = [f"a request: {error!r}" for error in failed if error is not None]
    echo.stop()
    for missed in record.missed:
        say(f"missed: {missed}")
    at_rest(rows, stack)
    for _ in range(ROUNDS_OF_REPLAY):
        replayed = operations.replay(url, key)
        if not replayed:
            break
        say(f"replayed {replayed} dead letters")
        at_rest(rows, stack)
    rows.close()
    return record, time.monotonic() - began, echo.copies


def _open(rows: Rows) -> str:
    try:
        return str(len(rows.open_rows()))
    except psycopg2.Error:
        return "?"


def _until_few(rows: Rows, asked: list[Future[None]]) -> None:
    """Ask for more only when there is not too much: this is no test of long queues."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < give_up:
        try:
            if len(rows.open_rows()) < OPEN_AT_ONCE and _unasked(asked) < OPEN_AT_ONCE:
                return
        except psycopg2.Error:
            return  # what strikes now strikes a stack without a database
        time.sleep(POLL_SECONDS)


def _unasked(asked: list[Future[None]]) -> int:
    return sum(not each.done() for each in asked)


def at_rest(rows: Rows, stack: Stack) -> bool:
    """Wait until nothing moves any more. False: something stands, and does not move."""
    streams = redis.Redis.from_url(stack.environment["REDIS_URL"], socket_timeout=5)
    last, since, rested = None, time.monotonic(), 0.0
    give_up = since + UNREST_SECONDS
    while time.monotonic() < give_up:
        try:
            state = _standing(rows, streams)
        except (psycopg2.Error, redis.RedisError):
            state = "servers away"
        now = time.monotonic()
        if state != last:
            last, since, rested = state, now, 0.0
        elif not state:
            rested = rested or now
            if now - rested > REST_SECONDS:
                return True
        elif now - since > PATIENCE_SECONDS:
            break
        time.sleep(POLL_SECONDS)
    return False


def _standing(rows: Rows, streams: redis.Redis) -> str:
    """What is not at rest, as text that changes when it moves; empty at rest."""
    found = [f"{kind} {row} {status}" for kind, row, status in rows.open_rows()]
    found += rows.progress()
    found += list(_moving(rows, streams))
    return "\n".join(found)


def _moving(rows: Rows, streams: redis.Redis) -> Iterator[str]:
    ((waiting,),) = rows.all("SELECT count(*) FROM outbox WHERE published_at IS NULL")
    if waiting:
        yield f"outbox {waiting}"
    for stream in CONSUMED:
        for group in groups_of(streams, stream):
            count = int(group["pending"]) + int(group.get("lag") or 0)
            if count:
                yield f"{stream} {count}"
    ((unseen,),) = rows.all(
        "SELECT count(*) FROM outbox o WHERE stream = ANY(%s)"
        " AND NOT EXISTS (SELECT FROM inbox i WHERE i.event_id = o.event_id)",
        list(CONSUMED),
    )
    if unseen:
        yield f"unseen {unseen}"


def _verdict(
    stack: Stack, options: Options, record: Record, seconds: float, copies: int
) -> tuple[Report, dict[str, Any]]:
    folder = stack.layout.root / "chaos"
    environment = stack.environment
    rows = Rows(environment["DATABASE_URL"])
    operations.tidy_up(environment)
    asked = ledger.read(folder / "asked.jsonl")
    report = audit(
        Sources(
            rows=rows,
            streams=redis.Redis.from_url(environment["REDIS_URL"]),
            asked=asked,
            arrivals=tools.read(folder / "tools.jsonl"),
            versions=operations.versions(environment),
            blobs=Path(environment["BLOB_DIR"]),
            work=Path(environment["WORK_DIR"]),
            flushes=record.flushes,
        )
    )
    report.found[STUCK] += record.unheard
    for kind, sentences in report.found.items():
        for sentence in sentences[:SHOWN]:
            say(f"{kind}: {sentence}")
    reruns = timings.reruns(rows, record.deaths, record.stops)
    for each in sorted(reruns, key=lambda rerun: rerun.seconds)[-SLOWEST:]:
        alone = "; no engine meanwhile" if each.met(record.engineless) else ""
        say(f"rerun: {each}{alone}")
    figures = timings.figures(record, reruns)
    rows.close()
    line: dict[str, Any] = {"jobs": options.jobs, "kills": record.kills, **report.counts()}
    line |= figures
    line |= {
        "reruns": len(reruns),
        "engineless_s": round(sum(end - begin for begin, end in record.engineless), 1),
        "flushes": len(record.flushes),
        "beyond_promise": report.beyond,
        "unbilled": report.unbilled,
        "copied_entries": copies,
        "seconds": round(seconds, 1),
        "seed": options.seed,
    }
    return report, line


def main(options: Options) -> int:
    """Print the last line; the exit status."""
    report, line = run(options)
    say(json.dumps(line))
    return int(not report.clean)


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit("run it as python -m tests.chaos")
