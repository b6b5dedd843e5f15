"""gunicorn's settings: `gunicorn -c python:web.gunicorn_conf 'web:create_app()'`."""

from __future__ import annotations

import os
from typing import Any

from settings import settings_or_exit

_settings = settings_or_exit()

bind = os.environ.get("WEB_BIND", "127.0.0.1:8000")
worker_class = "gthread"
workers = _settings.web_processes
threads = _settings.web_threads
# Sockets of the database and the broker must not be shared by forked processes.
preload_app = False
# One file under the home directory for all servers of a user: nothing here needs it.
control_socket_disable = True

# Above what load balancers commonly keep, so that they and not we close an idle connection.
keepalive = 75
# A stopping worker answers what it has; clients that wait for a job are let go within seconds.
graceful_timeout = 30
timeout = 60
backlog = 2048

# X-Forwarded-* only from a proxy on this machine, unless FORWARDED_ALLOW_IPS names others.
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")

accesslog = "-"
errorlog = "-"
loglevel = _settings.log_level.lower()
access_log_format = '%(h)s "%(r)s" %(s)s %(b)s %(L)ss request_id=%({x-request-id}o)s'


def post_fork(server: Any, worker: Any) -> None:
    """In each new worker: no connection of the parent's is used."""
    from database.session import dispose

    dispose(close=False)


def worker_exit(server: Any, worker: Any) -> None:
    """What the last requests began is given to the broker; the reconciler would be slower."""
    from web.live.handover import flush

    flush()


def post_worker_init(worker: Any) -> None:
    """Let clients that wait go as soon as the worker is told to stop."""
    from web.live.waiting import release_when

    release_when(lambda: not worker.alive)
