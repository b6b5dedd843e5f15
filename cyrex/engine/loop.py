"""The engine: one thread that schedules, runs and postprocesses, until it is closed."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from cyrex.engine.adapters import Adapter, AdapterPool
from cyrex.engine.arena import Arena
from cyrex.engine.config import EngineConfig
from cyrex.engine.errors import EngineClosed, EngineError, RequestRefused
from cyrex.engine.handle import EngineStats, Handle, ResidentAdapter
from cyrex.engine.kernels import use_threads
from cyrex.engine.lora import Planner
from cyrex.engine.model import LanguageModel
from cyrex.engine.prefix import PrefixCache
from cyrex.engine.request import AdapterRef, Request
from cyrex.engine.runner import MAX_MESSAGE, Runner
from cyrex.engine.scheduler import Scheduler
from cyrex.engine.scoring import ScoredExample, answer_losses
from cyrex.engine.sequence import TokenSequence

logger = logging.getLogger(__name__)

# Longest wait for the inbox: a deadline may be further away than a wait's timeout can be.
MAX_WAIT_SECONDS = 3600.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LoopCall:
    """A function to call on the loop's thread, between two steps."""

    work: Callable[[], Any]
    future: Future[Any]

    def run(self) -> None:
        try:
            self.future.set_result(self.work())
        except Exception as error:
            self.future.set_exception(error)


@dataclass(frozen=True, slots=True)
class CancelledSequence:
    """A message to the loop: this sequence was cancelled."""

    sequence: TokenSequence


@dataclass(frozen=True, slots=True)
class Close:
    """A message to the loop: finish what runs until `deadline` (`time.monotonic()`), then stop."""

    deadline: float


# Messages from other threads to the loop. A sequence is a new request; None only wakes the loop,
# after an adapter was loaded or refused.
Item = TokenSequence | LoopCall | CancelledSequence | Close | None


class Engine:
    """Answers requests of many companies from one base model. All methods are thread-safe."""

    def __init__(
        self,
        config: EngineConfig,
        on_stopped: Callable[[], None] | None = None,
        on_step: Callable[[], None] | None = None,
    ) -> None:
        """Load the base model and start the loop. Raises OSError or ValueError if it cannot.

        Both callbacks run on the loop's thread: `on_stopped` when the loop has ended for any
        reason, `on_step` after each round of the loop, with or without a forward pass.
        """
        self.config = config
        self.model = LanguageModel(config)
        is_cpu = self.model.device.type == "cpu"
        # On a CPU adapters are applied in fp32 whatever the base model's dtype is, as in PEFT.
        dtype = torch.float32 if is_cpu else self.model.module.dtype
        arena = Arena(config.max_adapter_bytes, dtype, self.model.device)
        self._inbox: queue.SimpleQueue[Item] = queue.SimpleQueue()
        places = self.model.places
        self._pool = AdapterPool(places, config.max_adapters, arena, lambda: self._inbox.put(None))
        self._planner = Planner(self._pool, self.model.device, config.threads)
        self._prefix = PrefixCache(self.model.cache, config.prefix_cache_bytes)
        self._scheduler = Scheduler(config, self.model.cache, self._pool, self._prefix)
        self._runner = Runner(self.model, self._planner, self._prefix)
        self._on_stopped = on_stopped
        self._on_step = on_step
        # The last round had nothing to compute: wait for the inbox.
        self._is_idle = True
        self._closing: Close | None = None
        self._gate = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> Handle:
        """Queue a request. Raises EngineClosed; other errors come from the handle's `result`."""
        sequences: list[TokenSequence] = []
        handle = Handle(request, on_cancel=lambda: self._inbox.put(CancelledSequence(sequences[0])))
        try:
            sequences.append(TokenSequence(handle, self.model))
        except EngineError as error:
            handle.fail(error)
        except Exception as error:
            # An unforeseen error must not end the thread that submits for all clients.
            logger.exception("a request cannot be read")
            handle.fail(RequestRefused(f"request: {type(error).__name__}: {error}"[:MAX_MESSAGE]))
        else:
            self._put(sequences[0])
        return handle

    def load(self, ref: AdapterRef) -> Future[None]:
        """Load an adapter ahead of its first request. The future may raise AdapterRefused."""
        with self._gate:
            if self._is_closed:
                raise EngineClosed("the engine is closed")
            adapter = self._pool.acquire(ref)
        adapter.done.add_done_callback(lambda _: self._pool.release(adapter))
        return adapter.done

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
        return self._pool.resident()

    def stats(self) -> EngineStats:
        """What the engine holds and has done. Does not wait for the loop."""
        scheduler, pool, prefix, runner = self._scheduler, self._pool, self._prefix, self._runner
        return EngineStats(
            waiting=scheduler.waiting,
            running=len(scheduler.running),
            slots=self.config.max_batch,
            kv_tokens=scheduler.kv_tokens,
            kv_capacity=self.config.kv_tokens,
            adapters=pool.loads - pool.evictions,
            adapter_bytes=pool.arena.used_bytes,
            adapter_budget=self.config.max_adapter_bytes,
            adapter_loads=pool.loads,
            adapter_evictions=pool.evictions,
            prefix_bytes=prefix.bytes,
            prefix_hits=prefix.hits,
            prefix_misses=prefix.misses,
            steps=runner.steps,
            prompt_tokens=runner.prompt_tokens,
            generated_tokens=runner.generated_tokens,
        )

    def ping(self) -> Future[None]:
        """A future that is done after the loop's next round."""
        return self._call(lambda: None)

    def losses(self, adapter: AdapterRef | None, examples: Sequence[ScoredExample]) -> list[float]:
        """Summed negative log-probability (nats) of each example's answer.

        Raises AdapterRefused. For evaluation: it blocks all other requests while it runs.
        """
        loaded: Adapter | None = None
        if adapter is not None:
            loaded = self._pool.acquire(adapter)
        try:
            if loaded is not None:
                loaded.done.result()
            return self._call(
                lambda: answer_losses(self.model, self._planner, loaded, examples)
            ).result()
        finally:
            if loaded is not None:
                self._pool.release(loaded)

    def close(self, deadline_seconds: float = 0.0) -> None:
        """Take no more requests, finish the present ones within the time, fail the rest."""
        with self._gate:
            self._is_closed = True
            self._inbox.put(Close(time.monotonic() + deadline_seconds))
        self._thread.join()

    def _call(self, work: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self._put(LoopCall(work, future))
        return future

    def _put(self, item: TokenSequence | LoopCall) -> None:
        # Under the lock, so that nothing arrives after the inbox was emptied for the last time.
        with self._gate:
            if self._is_closed:
                raise EngineClosed("the engine is closed")
            self._inbox.put(item)

    # ---- the loop's thread ----

    def _main(self) -> None:
        error = EngineClosed("the engine is closed")
        use_threads(self.config.threads)
        try:
            with torch.inference_mode():
                while self._intake():
                    self._step()
        except BaseException:
            logger.exception("the engine's loop has broken")
            error = EngineClosed("the engine's loop has broken")
        finally:
            with self._gate:
                self._is_closed = True
            self._scheduler.fail_all(error)
            self._fail_inbox(error)
            self._pool.close()
            if self._on_stopped is not None:
                self._on_stopped()

    def _step(self) -> None:
        """Schedule, run, postprocess."""
        batch = self._scheduler.schedule()
        self._is_idle = batch is None
        if batch is not None:
            served = self._runner.run(batch)
            self._scheduler.charge(served)
            self._scheduler.retire()
        if self._on_step is not None:
            self._on_step()

    def _intake(self) -> bool:
        """Read the inbox, waiting for a message if there is nothing to compute. False: stop."""
        if self._closing is not None:
            is_late = time.monotonic() >= self._closing.deadline
            if is_late or not self._scheduler.has_work():
                return False
        if self._is_idle:
            with contextlib.suppress(queue.Empty):
                self._receive(self._inbox.get(timeout=self._patience()))
        while not self._inbox.empty():
            self._receive(self._inbox.get())
        return True

    def _patience(self) -> float | None:
        """Seconds until the next deadline; None without one."""
        times = [self._scheduler.next_deadline()]
        if self._closing is not None:
            times.append(self._closing.deadline)
        known = [at for at in times if at is not None]
        return min(max(0.0, min(known) - time.monotonic()), MAX_WAIT_SECONDS) if known else None

    def _receive(self, item: Item) -> None:
        if isinstance(item, TokenSequence):
            self._scheduler.add(item)
        elif isinstance(item, CancelledSequence):
            self._scheduler.drop(item.sequence)
        elif isinstance(item, Close):
            self._closing = item
        elif isinstance(item, LoopCall):
            item.run()

    def _fail_inbox(self, error: EngineError) -> None:
        while not self._inbox.empty():
            item = self._inbox.get()
            if isinstance(item, TokenSequence):
                item.fail(error)
            elif isinstance(item, LoopCall):
                item.future.set_exception(error)
