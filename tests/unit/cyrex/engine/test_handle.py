from __future__ import annotations

import pytest

from cyrex.engine import Cancelled, Delta, EngineClosed, Request
from cyrex.engine.handle import Handle
from tests.support.completions import completion


def handle(stream: bool = False) -> Handle:
    return Handle(Request("acme", None, "hi", 8, stream=stream))


def test_confidence_is_the_mean_probability() -> None:
    assert completion().confidence == 0.5


def test_how_an_answer_came_about_is_no_part_of_it() -> None:
    assert completion(cached_tokens=3, queued_seconds=1.0) == completion()
    assert completion("other") != completion()


def test_only_the_first_end_counts() -> None:
    waiting = handle()
    assert not waiting.done()
    with pytest.raises(TimeoutError, match="no answer within 0"):
        waiting.result(0)
    waiting.resolve(completion())
    waiting.fail(EngineClosed("late"))
    assert waiting.outcome() == waiting.result(0) == completion()
    failed = handle()
    failed.fail(Cancelled("cancelled"))
    failed.resolve(completion())
    assert isinstance(failed.outcome(), Cancelled)
    with pytest.raises(Cancelled):
        failed.result(0)


def test_a_subscriber_gets_what_was_before_and_what_comes() -> None:
    streaming = handle(stream=True)
    first, second = Delta("a", [1], [0.0]), Delta("b", [2], [0.0])
    streaming.push(first)
    seen: list[Delta] = []
    streaming.subscribe(seen.append)
    streaming.push(second)
    streaming.resolve(completion())
    assert seen == [first, second] == list(streaming.deltas(1))


def test_an_error_ends_the_deltas() -> None:
    streaming = handle(stream=True)
    streaming.push(Delta("a", [1], [0.0]))
    pieces = streaming.deltas(0.01)
    assert next(pieces).text == "a"
    with pytest.raises(TimeoutError, match="nothing new"):
        next(pieces)
    streaming.fail(EngineClosed("closing"))
    pieces = streaming.deltas(1)
    assert next(pieces).text == "a"
    with pytest.raises(EngineClosed):
        next(pieces)


def test_only_a_stream_has_deltas() -> None:
    with pytest.raises(ValueError, match="stream=True"):
        handle().subscribe(lambda _: None)


def test_a_cancel_is_told_once_and_not_after_the_end() -> None:
    told: list[int] = []
    running = Handle(Request("acme", None, "hi", 8), lambda: told.append(1))
    running.cancel()
    running.cancel()
    assert (running.cancelled, told) == (True, [1])
    ended = Handle(Request("acme", None, "hi", 8), lambda: told.append(2))
    ended.resolve(completion())
    ended.cancel()
    assert (ended.cancelled, told) == (False, [1])
