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
# Each worker builds the application after the fork. `web` relies on it: threads, seats and
# connections begin in the process that uses them, and nothing checks for a fork.
preload_app = False
# gunicorn's control socket is one file per user, which two servers of a user would share.
control_socket_disable = True

# Seconds. Above the common idle limit of load balancers, so that they close idle connections first.
keepalive = 75
# Seconds in which a stopping worker finishes its requests; waits for jobs end within a few.
graceful_timeout = 30
timeout = 60
backlog = 2048

# X-Forwarded-* only from a proxy on this machine, unless FORWARDED_ALLOW_IPS names others.
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")

accesslog = "-"
errorlog = "-"
loglevel = _settings.log_level.lower()
access_log_format = '%(h)s "%(r)s" %(s)s %(b)s %(L)ss request_id=%({x-request-id}o)s'


def worker_exit(server: Any, worker: Any) -> None:
    """Give the broker the rows of the last requests: the reconciler would be slower."""
    from web.live.handover import flush

    flush()


def post_worker_init(worker: Any) -> None:
    """End the waits of clients once the worker is told to stop."""
    from web.live.waiting import release_when

    release_when(lambda: not worker.alive)
