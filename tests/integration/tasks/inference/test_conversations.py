"""The task of a conversation without an engine: void without its ticket, else an error is said."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cyrex.chat.protocol import Ask, Event, decode, replies_channel, ticket_key
from cyrex.engine import EngineError, PromptTooLong, QueueFull
from tasks.broker.listening import Listener
from tasks.inference import conversations
from tasks.inference import engine as inference
from tasks.inference.replies import Replies
from tests.support.broker import Broker
from tests.support.waiting import eventually


@pytest.fixture
def replies(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Replies]:
    found = Replies()
    found.start()
    monkeypatch.setattr(inference, "_replies", found)
    yield found
    found.stop()


def test_without_its_ticket_a_task_is_void(replies: Replies, acme: str) -> None:
    conversations.answer(acme, "nobody-asked")
    assert replies._said == {}
    assert replies._open == {}


def test_a_failure_is_said_and_the_ticket_is_used_up(
    replies: Replies, broker: Broker, acme: str
) -> None:
    channel = replies_channel("test")
    heard: list[Event] = []
    listener = Listener(channel, lambda message: heard.extend(decode(message).events))
    listener.start()
    assert listener.wait_ready()
    said = [{"role": "user", "content": "hello"}]
    ask = Ask(acme, "c1", channel, None, None, said, max_tokens=4, seconds=5.0)
    broker.redis.set(ticket_key("c1"), ask.dump())
    try:
        conversations.answer(acme, "c1")
        eventually(lambda: [event.kind for event in heard] == ["started", "error"], what="the end")
    finally:
        listener.stop()
    assert heard[-1].value["code"] == "internal_error"
    assert broker.redis.get(ticket_key("c1")) is None
    assert replies._open == {}


def test_every_refusal_of_the_engine_has_its_status() -> None:
    kinds = [kind for kind, *_ in conversations.REFUSALS]
    assert all(issubclass(kind, EngineError) for kind in kinds)
    found = {kind: status for kind, status, *_ in conversations.REFUSALS}
    assert (found[PromptTooLong], found[QueueFull]) == (400, 429)
    for earlier, kind in enumerate(kinds):
        general = [other for other in kinds[:earlier] if issubclass(kind, other)]
        assert general == [], f"{kind.__name__} is never reached"
