"""An inference worker for tests of the API: the real task and engine, in the test's threads."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from cyrex.chat.protocol import Ask, Event, encode, ticket_key
from cyrex.chat.usage import Meter
from cyrex.engine import EngineConfig
from cyrex.serving import EngineProcess
from helox.render import ChatTemplate
from tasks.broker.routing import COMMON_QUEUE
from tasks.inference import engine as inference
from tasks.inference.adapters import AdapterWatch
from tasks.inference.conversations import answer
from tasks.inference.replies import Replies

POP_SECONDS = 0.1


def hint_of(raw: Any) -> tuple[str, str]:
    """(company, call) of a message in the queue."""
    arguments = json.loads(base64.b64decode(json.loads(raw)["body"]))[0]
    return arguments[0], arguments[1]


@dataclass
class ChatWorker:
    """Takes hints from the common queue until it is closed."""

    redis: Redis
    engine: EngineProcess
    hints: list[tuple[str, str]] = field(default_factory=list)
    paused: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self._stop.is_set():
            if self.paused.is_set():
                self._stop.wait(POP_SECONDS)
                continue
            popped: Any = self.redis.brpop([COMMON_QUEUE], timeout=POP_SECONDS)
            if popped is not None:
                self.hints.append(hint_of(popped[1]))
                threading.Thread(target=answer, args=self.hints[-1], daemon=True).start()

    def close(self) -> None:
        self._stop.set()

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Leave hints in the queue."""
        self.paused.set()
        threading.Event().wait(2 * POP_SECONDS)
        yield
        self.paused.clear()


@contextmanager
def chat_worker(redis_url: str, base: Path) -> Iterator[ChatWorker]:
    with pytest.MonkeyPatch.context() as patch:
        replies = Replies()
        engine = EngineProcess(EngineConfig(str(base), max_batch=8), on_step=replies.flush)
        patch.setattr(inference, "_engine", engine)
        patch.setattr(inference, "_template", ChatTemplate.load(base))
        patch.setattr(inference, "_token_text", None)
        patch.setattr(inference, "_replies", replies)
        watch = AdapterWatch()
        patch.setattr(inference, "_adapters", watch)
        watch.start()
        meter = Meter()
        patch.setattr(inference, "_meter", meter)
        meter.start()
        patch.setattr(inference, "base_model_dir", lambda: base)
        replies.start()
        engine.wait_ready(120)
        worker = ChatWorker(Redis.from_url(redis_url), engine)
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        yield worker
        worker.close()
        thread.join(5)
        engine.close(0)
        replies.stop()
        meter.stop()
        watch.stop()


class Impostor:
    """A worker that takes one ticket, publishes the given events, and then is silent."""

    def __init__(self, redis: Redis, *said: tuple[Any, ...]) -> None:
        self._redis = redis
        self._said = said
        self.ask: Ask | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        popped: Any = self._redis.brpop([COMMON_QUEUE], timeout=5)
        _, call_id = hint_of(popped[1])
        ticket = self._redis.getdel(ticket_key(call_id))
        assert isinstance(ticket, bytes)
        self.ask = Ask.load(ticket)
        events = [Event(call_id, number, kind, value) for number, kind, value in self._said]
        if events:
            self._redis.publish(self.ask.reply_to, encode(events))

    def join(self) -> Ask:
        self._thread.join(10)
        assert self.ask is not None
        return self.ask
