"""Real processes of the product for a test: workers and beat, on the test's own servers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from settings import REPOSITORY
from tests.support.waiting import eventually

START_SECONDS = 60.0
QUIET = ("--without-mingle", "--without-gossip")


@contextmanager
def running(log: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """`celery -A tasks …` beside the test, which writes to `log`; killed at its end."""
    with log.open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "tasks", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, **environment},
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


@contextmanager
def worker(
    folder: Path, queues: str, name: str = "worker", pool: str = "threads", **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that takes from `queues`, once it is ready."""
    ready = folder / f"{name}.ready"
    options = ("-Q", queues, "-P", pool, "-c", "4", "-n", f"{name}@test", *QUIET)
    log = folder / f"{name}.log"
    environment["CYREX_READY_FILE"] = str(ready)
    with running(log, "worker", *options, **environment) as process:
        eventually(ready.exists, START_SECONDS, f"the start of {name}")
        yield process


@contextmanager
def beat(folder: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    schedule = str(folder / "beat")
    with running(folder / "beat.log", "beat", "--schedule", schedule, **environment) as process:
        yield process
