"""The documented states of a queue are the real ones."""

from __future__ import annotations

import pytest

from tasks.broker import queues
from web.shapes.health import QueueReadiness, ReadinessQuery


def test_every_state_of_a_queue_is_documented() -> None:
    described = str(QueueReadiness.model_fields["status"].description)
    for state in (*queues.HEALTHY, queues.STUCK, queues.DOWN):
        assert f"`{state}`" in described


@pytest.mark.parametrize(("text", "strict"), [("true", True), ("1", True), ("false", False)])
def test_strict_is_read_from_an_address(text: str, strict: bool) -> None:
    assert ReadinessQuery.model_validate({"strict": text}).strict is strict
    assert ReadinessQuery().strict is False
