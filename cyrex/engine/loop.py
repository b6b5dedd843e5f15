"""The engine: one thread that schedules, runs and postprocesses, until it is closed."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from cyrex.engine.adapters import AdapterPool
from cyrex.engine.batch import Batch, Row
from cyrex.engine.config import EngineConfig
from cyrex.engine.errors import EngineClosed, EngineError, GenerationFailed
from cyrex.engine.handle import EngineStats, Handle, ResidentAdapter
from cyrex.engine.model import LanguageModel
from cyrex.engine.request import AdapterKey, AdapterRef, Request
from cyrex.engine.scheduler import Scheduler, Turn
from cyrex.engine.scoring import Example, answer_losses

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Callers that just got an answer are likely to ask again: a small batch waits for them this long.
GATHER_SECONDS = 0.003
# ... if so many answers were given within this time.
GATHER_WINDOW_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class _Job:
    """Something to run on the loop's thread, between two turns."""

    work: Callable[[], Any]
    future: Future[Any]


@dataclass(frozen=True, slots=True)
class _Close:
    deadline: float


class Engine:
    """Answers requests of many companies from one base model. All methods are thread-safe."""

    def __init__(
        self,
        config: EngineConfig,
        on_stopped: Callable[[], None] | None = None,
        on_step: Callable[[], None] | None = None,
    ) -> None:
        """Load the base model and start the loop. Raises OSError or ValueError if it cannot.

        Both are called on the loop's thread: `on_stopped` when the loop has ended for whatever
        reason, `on_step` after each step that produced something.
        """
        self.config = config
        self.model = LanguageModel(config)
        self._adapters = AdapterPool(self.model, config)
        self._scheduler = Scheduler(self._make_batch, config.max_batch, config.kv_tokens)
        self._inbox: queue.SimpleQueue[Row | _Job | _Close] = queue.SimpleQueue()
        self._on_stopped = on_stopped
        self._on_step = on_step
        self._closing: _Close | None = None
        self._gate = threading.Lock()
        self._is_closed = False
        self._answered: list[float] = []
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> Handle:
        """Queue a request. What is wrong with it is raised by the handle's `result`.

        Raises EngineClosed.
        """
        handle = Handle(request)
        try:
            row = Row(handle, self.model)
        except EngineError as error:
            handle.fail(error)
        else:
            self._put(row)
        return handle

    def load(self, ref: AdapterRef) -> Future[None]:
        """Load an adapter ahead of its first request. The future may raise AdapterRefused."""
        return self._call(lambda: self._adapters.ensure(ref, self._pinned()))

    def warm(self, ref: AdapterRef, timeout: float | None = None) -> bool:
        """Load an adapter and wait for it; returns whether it is loaded now."""
        try:
            self.load(ref).result(timeout)
        except EngineError as error:
            logger.warning("adapter %s of %s: %s", ref.adapter_id, ref.company, error)
            return False
        return True

    def resident(self) -> list[ResidentAdapter]:
        """The loaded adapters, the least recently used first. Does not wait for the loop."""
        return list(self._adapters.resident)

    def stats(self) -> EngineStats:
        """What the engine holds and has done. Does not wait for the loop."""
        loaded = self._adapters.resident
        return EngineStats(
            slots=self.config.max_batch,
            kv_capacity=self.config.kv_tokens,
            adapters=len(loaded),
            adapter_bytes=sum(resident.bytes for resident in loaded),
            adapter_budget=self.config.max_adapter_bytes,
        )

    def ping(self) -> Future[None]:
        """Done when the loop has come round."""
        return self._call(lambda: None)

    def losses(self, adapter: AdapterRef | None, examples: Sequence[Example]) -> list[float]:
        """Summed negative log-probability (nats) of each example's answer.

        Raises AdapterRefused. Holds up all other requests while it runs: for evaluation.
        """

        def score() -> list[float]:
            if adapter is not None:
                self._adapters.ensure(adapter, self._pinned())
            self._adapters.activate(adapter.key if adapter is not None else None)
            return answer_losses(self.model, examples)

        return self._call(score).result()

    def close(self, deadline_seconds: float = 0.0) -> None:
        """Take nothing more, finish what is under way within the time, fail the rest."""
        with self._gate:
            self._is_closed = True
            self._inbox.put(_Close(time.monotonic() + deadline_seconds))
        self._thread.join()

    def _call(self, work: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self._put(_Job(work, future))
        return future

    def _put(self, item: Row | _Job) -> None:
        # Under the lock, so that nothing can arrive after the inbox has been emptied for good.
        with self._gate:
            if self._is_closed:
                raise EngineClosed("the engine is closed")
            self._inbox.put(item)

    def _make_batch(self, key: AdapterKey | None) -> Batch:
        return Batch(self.model, key)

    def _pinned(self) -> frozenset[AdapterKey]:
        return frozenset(batch.key for batch in self._scheduler.running() if batch.key is not None)

    # ---- the loop's thread ----

    def _main(self) -> None:
        error = EngineClosed("the engine is closed")
        try:
            with torch.inference_mode():
                while self._intake():
                    turn = self._scheduler.next()
                    if turn is not None:
                        self._run(turn)
        except BaseException:
            logger.exception("the engine's loop has broken")
            error = EngineClosed("the engine's loop has broken")
        finally:
            with self._gate:
                self._is_closed = True
            self._scheduler.fail_all(error)
            self._fail_inbox(error)
            if self._on_stopped is not None:
                self._on_stopped()

    def _intake(self) -> bool:
        """Take in what has come, waiting for it if there is nothing to do. False: stop."""
        has_work = self._scheduler.has_work()
        if not has_work and self._closing is not None:
            return False
        if self._closing is not None and time.monotonic() >= self._closing.deadline:
            return False
        if not has_work:
            self._receive(self._inbox.get())
        while not self._inbox.empty():
            self._receive(self._inbox.get())
        if not any(True for _ in self._scheduler.running()):
            self._gather()
        return True

    def _gather(self) -> None:
        """Before a batch starts, wait a moment for callers who are about to ask again."""
        now = time.monotonic()
        self._answered = [at for at in self._answered if now - at < GATHER_WINDOW_SECONDS]
        expected = min(len(self._answered), self.config.max_batch)
        until = now + GATHER_SECONDS
        while 0 < self._scheduler.waiting_rows() < expected and self._closing is None:
            try:
                self._receive(self._inbox.get(timeout=max(0.0, until - time.monotonic())))
            except queue.Empty:
                return

    def _receive(self, item: Row | _Job | _Close) -> None:
        if isinstance(item, Row):
            self._scheduler.add(item)
        elif isinstance(item, _Close):
            self._closing = item
        else:
            try:
                item.future.set_result(item.work())
            except Exception as error:
                item.future.set_exception(error)

    def _run(self, turn: Turn) -> None:
        """One turn. What breaks here ends the rows that it concerns, and the loop goes on."""
        batch = turn.batch
        before = len(batch.live) + len(turn.admitted)
        try:
            if turn.admitted:
                self._start(batch, turn.admitted)
            for _ in range(turn.steps):
                if batch.live:
                    self._adapters.activate(batch.key)
                    batch.step()
                    self._tell()
        except EngineError as error:
            self._fail(turn, error)
        except Exception as error:
            logger.exception("a batch has broken")
            self._fail(turn, GenerationFailed(f"{type(error).__name__}: {error}"[:500]))
        self._tell()
        self._answered += [time.monotonic()] * (before - len(batch.live))

    def _tell(self) -> None:
        if self._on_step is not None:
            self._on_step()

    def _start(self, batch: Batch, rows: Sequence[Row]) -> None:
        ready = [row for row in rows if not row.give_up()]
        if ready:
            adapter = ready[0].handle.request.adapter
            if adapter is not None:
                self._adapters.ensure(adapter, self._pinned())
            self._adapters.activate(batch.key)
            batch.admit(ready)

    def _fail(self, turn: Turn, error: EngineError) -> None:
        for row in turn.admitted:
            row.fail(error)
        turn.batch.fail(error)

    def _fail_inbox(self, error: EngineError) -> None:
        while not self._inbox.empty():
            item = self._inbox.get()
            if isinstance(item, Row):
                item.fail(error)
            elif isinstance(item, _Job):
                item.future.set_exception(error)
