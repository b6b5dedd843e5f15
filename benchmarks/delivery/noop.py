"""A job without inference, end to end, beside a Celery task that does nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import exists, select

from benchmarks.delivery.noop_worker import BARE, DONE_KEY
from benchmarks.delivery.streams import COMPANIES
from cyrex.jobs.fast_path import create_and_admit
from cyrex.jobs.new_job import NewJob
from database.models import Job
from database.session import operator_session
from database.transitions import JOB
from tasks import app
from tasks.broker import chains, connection, dispatch

REPOSITORY = Path(__file__).resolve().parents[2]
THREADS = 8
READY_SECONDS = 60.0
STOP_SECONDS = 20.0
GIVE_UP_SECONDS = 300.0
POLL_SECONDS = 0.02
# Polling the rows costs as much as a part of a job.
ENDED_POLL_SECONDS = 0.1
UNFINISHED = select(exists().where(Job.status.in_([s.name for s in JOB.states if s.to])))


@contextmanager
def worker(ready: Path) -> Iterator[None]:
    """A worker of the queue `inference`, started as in production, but without an engine."""
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    command = ["celery", "-A", "tasks", "worker", "-Q", "inference", "-P", "threads"]
    command += ["-c", str(THREADS), "-I", "benchmarks.delivery.noop_worker", "-n", "noop@%h"]
    command += ["--without-mingle", "--without-gossip"]
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env={**os.environ, "PYTHONPATH": path, "CYREX_READY_FILE": str(ready)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _until(ready.exists, READY_SECONDS)
        yield
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def product(count: int) -> float:
    """Jobs a second from the first row to the last result."""
    started = time.perf_counter()
    for n in range(count):
        company_id = COMPANIES[n % len(COMPANIES)]
        # As the API does.
        taken = create_and_admit(NewJob(company_id, {"input": n}))
        assert taken is not None
        _view, row = taken
        if row is not None:
            dispatch.publish(JOB, [row])
        else:
            dispatch.admit("job", company_id)

    def all_ended() -> bool:
        with operator_session() as session:
            return not session.scalar(UNFINISHED)

    _until(all_ended, GIVE_UP_SECONDS, ENDED_POLL_SECONDS)
    return count / (time.perf_counter() - started)


def bare(count: int) -> float:
    """Tasks a second from the first message to the last one's end."""
    connection.broker().delete(DONE_KEY)
    started = time.perf_counter()
    for n in range(count):
        app.send_task(BARE, args=(n == count - 1,), queue="inference", priority=chains.PRIORITY)
    _until(lambda: bool(connection.broker().exists(DONE_KEY)), GIVE_UP_SECONDS)
    return count / (time.perf_counter() - started)


def _until(condition: Callable[[], bool], seconds: float, pause: float = POLL_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come to an end"
        time.sleep(pause)
