"""A Celery worker, started as in the stack."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from sqlalchemy import select

from database.models import Worker
from database.session import operator_session
from settings import REPOSITORY
from tests.support.waiting import eventually

START_SECONDS = 60.0


class CeleryWorker:
    """`celery -A tasks worker`, started as in the stack, in a session of its own."""

    def __init__(self, folder: Path, name: str, queues: str, pool: str, size: int) -> None:
        self.node = f"{name}@test"
        self._folder = folder
        self._command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-n", self.node]
        self._command += ["-Q", queues, "-P", pool, "-c", str(size)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until its ready file exists."""
        ready = self._folder / f"{self.node}.ready"
        ready.unlink(missing_ok=True)
        log = (self._folder / f"{self.node}.log").open("ab")
        self._process = subprocess.Popen(
            self._command,
            cwd=REPOSITORY,
            env={**os.environ, "CYREX_READY_FILE": str(ready), "LOG_LEVEL": "INFO"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        eventually(ready.exists, START_SECONDS, "the worker is ready")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL all of its processes, as the kernel does when memory runs out."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def terminate(self) -> int:
        """SIGTERM it; returns its exit status."""
        assert self._process is not None
        process, self._process = self._process, None
        process.terminate()
        return process.wait(30)


def worker_of(node: str) -> Worker | None:
    with operator_session() as session:
        return session.scalar(select(Worker).where(Worker.node == node))


def row_of(node: str) -> Worker:
    found = eventually(lambda: worker_of(node), what=f"the row of {node}")
    assert found is not None
    return found
