"""Conversations whose hints, workers or replies are lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from redis import Redis

from settings import get_settings
from tasks.broker.routing import COMMON_QUEUE
from tests.support.tiny import base
from tests.support.waiting import eventually
from tests.support.web import Tenant, error_of
from tests.support.web_chat import ask, events_of, usage_rows, whole
from tests.support.web_chat_worker import ChatWorker, Impostor, chat_worker
from web.live import conversations

__all__ = ["base"]


@pytest.fixture(scope="module", autouse=True)
def worker(app: Flask, redis_url: str, base: Path) -> Iterator[ChatWorker]:
    with chat_worker(redis_url, base) as running:
        yield running


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(conversations, "HINT_SECONDS", 0.5)
    monkeypatch.setattr(conversations, "TAKEN_SECONDS", 0.7)
    monkeypatch.setattr(conversations, "PULSE_EXPIRY_SECONDS", 1.5)


def test_a_hint_given_twice_has_one_effect_and_a_lost_one_is_given_again(
    acme: Tenant, worker: ChatWorker, redis_url: str
) -> None:
    redis: Redis = Redis.from_url(redis_url)
    answers: list[Any] = []
    with worker.pause():
        thread = threading.Thread(target=lambda: answers.append(ask(acme.api)))
        thread.start()
        (hint,) = eventually(lambda: redis.lrange(COMMON_QUEUE, 0, -1))
        redis.rpush(COMMON_QUEUE, hint, hint)
    thread.join(20)
    assert answers[0].status_code == 200
    eventually(lambda: len(usage_rows(acme.company_id)) == 1)

    with worker.pause():
        thread = threading.Thread(target=lambda: answers.append(ask(acme.api)))
        thread.start()
        eventually(lambda: redis.llen(COMMON_QUEUE))
        redis.delete(COMMON_QUEUE)
    thread.join(20)
    assert answers[1].status_code == 200
    time.sleep(0.3)
    assert len(usage_rows(acme.company_id)) == 2


def test_a_worker_that_dies_before_it_says_anything_is_replaced(
    acme: Tenant, worker: ChatWorker, redis_url: str
) -> None:
    """With and without a sign that it had begun."""
    for said in ((), ((0, "started", None),)):
        with worker.pause():
            impostor = Impostor(Redis.from_url(redis_url), *said)
            answers: list[Any] = []
            thread = threading.Thread(
                target=lambda found=answers: found.append(ask(acme.api, stream=True))
            )
            thread.start()
            impostor.join()
        thread.join(20)
        assert events_of(answers[0])[-1] == "[DONE]"


DELTA = (1, "delta", ["Invoices", None])


@pytest.mark.parametrize(
    "said",
    [
        [(0, "started", None), DELTA],  # ... and nothing more
        [(0, "started", None), DELTA, (3, "delta", [" are", None])],  # a piece is missing
    ],
)
def test_after_the_first_piece_nothing_is_asked_again(
    acme: Tenant, worker: ChatWorker, redis_url: str, said: list[tuple[Any, ...]]
) -> None:
    with worker.pause():
        impostor = Impostor(Redis.from_url(redis_url), *said)
        response = ask(acme.api, stream=True)
        impostor.join()
        *pieces, last = events_of(response)
    assert pieces[1]["choices"][0]["delta"] == {"content": "Invoices"}
    assert last["error"]["code"] == "answer_lost"
    assert "[DONE]" not in response.text


def test_a_piece_that_comes_twice_is_told_once(
    acme: Tenant, worker: ChatWorker, redis_url: str
) -> None:
    end = {"finish_reason": "stop", "prompt_tokens": 3, "completion_tokens": 1, "cached_tokens": 0}
    with worker.pause():
        impostor = Impostor(
            Redis.from_url(redis_url), (0, "started", None), DELTA, DELTA, (2, "end", end)
        )
        response = ask(acme.api, stream=True)
        impostor.join()
    assert response.text.count("Invoices") == 1
    assert events_of(response)[-1] == "[DONE]"


def test_an_engine_that_dies_before_the_first_token_is_asked_again(
    acme: Tenant, worker: ChatWorker
) -> None:
    pid = worker.engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    timer = threading.Timer(0.5, os.kill, (pid, signal.SIGKILL))
    timer.start()
    assert whole(acme.api)["choices"]
    timer.join()
    assert worker.engine.pid != pid


def test_without_a_worker_a_client_is_told_in_time(
    acme: Tenant, worker: ChatWorker, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAT_QUEUE_SECONDS", "1")
    get_settings.cache_clear()
    try:
        with worker.pause():
            started = time.monotonic()
            response = ask(acme.api, stream=True)
            error_of(response, 503, "no_worker")
            assert int(response.headers["Retry-After"]) > 0
            assert time.monotonic() - started < 5
            Redis.from_url(redis_url).delete(COMMON_QUEUE)
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()
