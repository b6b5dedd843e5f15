"""Real Celery workers for tests that kill them, each on a "host" of its own: a work folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from settings import REPOSITORY
from tasks.upkeep import reconciler
from tests.support.waiting import eventually

START_SECONDS = 60.0
RECONCILE_SECONDS = 2.0


class CeleryWorker:
    """One `celery worker`, and whatever it starts, in a process group of its own."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *queues: str,
        pool: str = "prefork",
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.name = name
        self.work_dir = folder / name / "work"
        self.log = folder / f"{name}.log"
        self.work_dir.mkdir(parents=True)
        command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-Q", ",".join(queues)]
        command += ["-P", pool, "-c", "1" if pool == "prefork" else "4", "-n", f"{name}@%h"]
        self._ready = folder / f"{name}.ready"
        own = {
            "CYREX_READY_FILE": str(self._ready),
            "WORK_DIR": str(self.work_dir),
            "TRAINING_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env={**environment, **own, "GOMP_SPINCOUNT": "0"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        eventually(self._ready.exists, START_SECONDS, f"{self.name}'s start, see {self.log}")

    def descendants(self, words: str = "") -> list[psutil.Process]:
        """Live processes that it started whose command line holds `words`."""
        found = []
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if words in " ".join(child.cmdline()):
                        found.append(child)
        return found

    def signal(self, number: signal.Signals, trainer: bool = True) -> None:
        """Send to the worker and all that it started; `trainer=False` spares Helox."""
        for process in self.descendants():
            with suppress(psutil.NoSuchProcess):
                if trainer or "helox" not in " ".join(process.cmdline()):
                    process.send_signal(number)
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9 of everything: the host is gone."""
        for process in [*self.descendants(), psutil.Process(self.process.pid)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()


@contextmanager
def celery_workers(folder: Path) -> Iterator[Callable[..., CeleryWorker]]:
    """A way to start workers; all are gone in the end."""
    started: list[CeleryWorker] = []

    def start(name: str, *queues: str, **options: Any) -> CeleryWorker:
        worker = CeleryWorker(folder, name, *queues, **options)
        started.append(worker)
        return worker

    try:
        yield start
    finally:
        for worker in started:
            worker.stop()


@contextmanager
def reconciling() -> Iterator[None]:
    """Beat's tick and the maintenance worker that hears it, as one thread of this process."""
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(RECONCILE_SECONDS):
            reconciler.reconcile()

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
