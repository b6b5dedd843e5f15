"""A worker's process comes and goes: what Celery's signals start and end."""

from __future__ import annotations

import multiprocessing
import os
from typing import Any

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

import celeryconfig
from cyrex.host.folders import check_folders
from cyrex.logs import configure_logging
from database.session import dispose
from settings import SettingsError, get_settings
from tasks.broker.connection import broker
from tasks.workers.presence import arrive, depart

# Queues whose tasks keep files on this machine.
STORING = {"inference", "training", "bridge"}

# Shared with forked pool processes, which get no signal of a shutdown themselves.
leaving = multiprocessing.get_context("fork").Event()


@setup_logging.connect
def _logging(**_kwargs: Any) -> None:
    configure_logging(get_settings().log_level, celeryconfig.TICKS)


@worker_init.connect
def _start(sender: Any = None, **_kwargs: Any) -> None:
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
        arrive(sender.hostname, queues, int(sender.concurrency or 1))


@worker_process_init.connect
def _pool_process(**_kwargs: Any) -> None:
    """In each forked pool process: sockets of the parent must not be shared."""
    dispose(close=False)
    broker.cache_clear()
    index = getattr(current_process(), "index", 0)
    node = f"{os.environ['CYREX_NODE']}/{index}"
    arrive(node, os.environ["CYREX_QUEUES"].split(","), slots=1)


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
def _stop(**_kwargs: Any) -> None:
    depart()
