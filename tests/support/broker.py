"""Celery's broker in a test."""

from __future__ import annotations

from typing import Any

from kombu import pools

from tasks import app as celery_app
from tasks.broker import dispatch


def use_broker(url: str) -> None:
    """Point the Celery application, which reads its settings once, at `url`."""
    dispatch.broker.cache_clear()
    pools.reset()
    celery: Any = celery_app
    celery._pool = None
    celery.amqp._producer_pool = None
    celery.conf.broker_url = url
