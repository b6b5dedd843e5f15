"""A message whose connection has died does no harm to the worker that holds it."""

from __future__ import annotations

import logging

import pytest
from kombu import Connection

from tasks.broker.consumer import let_go


@pytest.mark.parametrize("act", ["ack_log_error", "reject_log_error"])
def test_a_message_of_a_dead_connection_is_let_go(redis_url: str, act: str) -> None:
    connection = Connection(redis_url)
    queue = connection.SimpleQueue("let-go")
    queue.put("hello")
    message = queue.get(timeout=5)
    let_go(connection)
    message.channel.close()
    # Celery calls it when the task has ended, and catches only what a living connection raises.
    getattr(message, act)(logging.getLogger(__name__), connection.connection_errors)
    assert message.acknowledged
