from __future__ import annotations

import threading
import time
from concurrent.futures import Future

import pytest

from cyrex.engine import DeadlineExceeded, Delta, EngineClosed, Request
from cyrex.engine.handle import Handle
from cyrex.serving.waiters import Waiters
from cyrex.serving.wire import Done, Query, QueryAnswer, Submit, row_of
from tests.support.completions import completion


def waiters() -> Waiters:
    return Waiters(threading.Condition())


def handle(deadline: float | None = None) -> Handle:
    return Handle(Request("acme", None, "hi", 8, stream=True, deadline=deadline))


def test_each_message_goes_to_who_waits_for_it() -> None:
    table, one, other = waiters(), handle(), handle()
    question: Future[QueryAnswer] = Future()
    for number, waiter in enumerate((one, other, question)):
        table.add(number, waiter)
    table.hand_on(row_of(0, Delta("a", [1], [0.0])))
    table.hand_on(Done(0, completion()))
    table.hand_on(Done(1, EngineClosed("closing")))
    table.hand_on(QueryAnswer(2, value="pong"))
    assert [delta.text for delta in one.deltas(1)] == ["a"]
    assert one.result(0) == completion()
    assert isinstance(other.outcome(), EngineClosed)
    assert question.result(0).value == "pong"
    assert table.handles == {}
    table.hand_on(Done(0, completion()))  # nobody waits for it any more


def test_all_fail_but_what_no_child_has_seen() -> None:
    table, sent, unsent = waiters(), handle(), handle()
    question: Future[QueryAnswer] = Future()
    table.add(0, sent)
    table.add(1, unsent)
    table.add(2, question)
    table.unsent[1] = Submit(1, unsent.request)
    table.fail_all(EngineClosed("died"), keep_unsent=True)
    assert isinstance(sent.outcome(), EngineClosed)
    assert isinstance(question.exception(0), EngineClosed)
    assert not unsent.done()
    table.fail_all(EngineClosed("closing"))
    assert isinstance(unsent.outcome(), EngineClosed)
    assert table.unsent == {}


def test_what_is_late_before_a_child_took_it_fails() -> None:
    table, late, early = waiters(), handle(time.monotonic() - 1), handle()
    for number, waiter in enumerate((late, early)):
        table.add(number, waiter)
        table.unsent[number] = Submit(number, waiter.request)
    assert table.drop_late()
    with pytest.raises(DeadlineExceeded):
        late.result(0)
    assert list(table.handles) == list(table.unsent) == [1]
    assert not table.drop_late()


def test_a_question_that_is_forgotten_is_asked_no_more() -> None:
    table = waiters()
    question: Future[QueryAnswer] = Future()
    table.add(0, question)
    table.unsent[0] = Query(0, "ping")
    table.forget(0)
    assert table.unsent == {}
    table.hand_on(QueryAnswer(0, value="pong"))
    assert not question.done()
