"""The worker's side of conversations: one pipeline, pulses, cancels, and nobody who listens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from cyrex.chat.protocol import CANCELS_CHANNEL, Event, Heard, decode, replies_channel
from tasks.broker.listening import Listener
from tasks.inference import replies as module
from tasks.inference.replies import Replies
from tests.support.broker import Broker
from tests.support.waiting import eventually


class Ear:
    """A process of the API, as far as it hears."""

    def __init__(self, name: str) -> None:
        self.channel = replies_channel(name)
        self.heard: list[Heard] = []
        self._listener = Listener(self.channel, lambda message: self.heard.append(decode(message)))
        self._listener.start()
        assert self._listener.wait_ready()

    def events(self) -> list[Event]:
        return [event for heard in self.heard for event in heard.events]

    def close(self) -> None:
        self._listener.stop()


@pytest.fixture
def replies(broker: Broker) -> Iterator[Replies]:
    found = Replies()
    found.start()
    assert found._cancels.wait_ready()
    yield found
    found.stop()
    found._thread.join(10)
    assert not found._thread.is_alive()


@pytest.fixture
def ear(broker: Broker, request: pytest.FixtureRequest) -> Any:
    found = Ear(request.node.name)
    yield found
    found.close()


def test_a_steps_events_come_in_one_message(replies: Replies, ear: Ear) -> None:
    calls = [replies.open(f"call{n}", ear.channel) for n in range(20)]
    for call in calls:
        call.say_piece("text", None)
    replies.flush()
    eventually(lambda: len(ear.events()) == 20)
    (message,) = [heard for heard in ear.heard if heard.events]
    assert [event.call_id for event in message.events] == [call.call_id for call in calls]
    assert {event.number for event in message.events} == {0}


def test_answers_under_way_are_named_now_and_then(
    replies: Replies, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PULSE_SECONDS", 0.05)
    call = replies.open("call", ear.channel)
    eventually(lambda: [h for h in ear.heard if list(h.at_work) == ["call"]])
    replies.close(call)
    eventually(lambda: not replies._open)


def test_a_cancel_reaches_the_call_and_no_other(replies: Replies, ear: Ear, broker: Broker) -> None:
    calls = [replies.open(name, ear.channel) for name in ("one", "two")]
    acted = threading.Event()
    calls[0].on_cancel(acted.set)
    broker.redis.publish(CANCELS_CHANNEL, "one")
    assert acted.wait(5)
    assert calls[0].cancelled.is_set()
    assert not calls[1].cancelled.is_set()


def test_what_nobody_hears_is_cancelled(replies: Replies, ear: Ear) -> None:
    gone = replies.open("gone", replies_channel("a process that has died"))
    lives = replies.open("lives", ear.channel)
    for call in (gone, lives):
        call.say_piece("text", None)
    replies.flush()
    assert gone.cancelled.wait(5)
    assert not lives.cancelled.is_set()


def test_a_redis_that_is_away_for_a_moment_loses_nothing(
    replies: Replies, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = module.broker()
    away: Callable[[], Redis] = lambda: Redis(port=1)  # noqa: E731
    monkeypatch.setattr(module, "broker", away)
    call = replies.open("call", ear.channel)
    call.say_piece("first", None)
    replies.flush()
    threading.Event().wait(0.3)
    monkeypatch.setattr(module, "broker", lambda: client)
    call.say_piece("second", None)
    replies.flush()
    eventually(lambda: [event.value[0] for event in ear.events()] == ["first", "second"])


def test_pieces_that_come_faster_than_messages_are_joined(replies: Replies, ear: Ear) -> None:
    call = replies.open("call", ear.channel)
    call.say("started")
    letters = "The quick brown fox"
    for letter in letters:
        call.say_piece(letter, [{"token": letter}])
        replies.flush()
    call.say("end", {})
    replies.flush()
    eventually(lambda: any(event.kind == "end" for event in ear.events()))
    events = ear.events()
    assert [event.number for event in events] == list(range(len(events)))
    pieces = [event.value for event in events if event.kind == "delta"]
    assert "".join(text for text, _ in pieces) == letters
    assert [entry["token"] for _, entries in pieces for entry in entries] == list(letters)
    assert len(pieces) < len(letters)
