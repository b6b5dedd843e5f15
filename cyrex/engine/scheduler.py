"""The scheduler: a fair share for every company, by a virtual token counter (VTC).

Every company has a queue and a counter of its tokens' cost. The next free slot goes to the waiting
company with the lowest counter. A company that was idle starts level with the others: idle time
earns no credit. Running sequences are never preempted.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cyrex.engine.adapters import AdapterPool
from cyrex.engine.config import EngineConfig
from cyrex.engine.errors import EngineError, QueueFull
from cyrex.engine.kv import NO_SLOT, SlotCache
from cyrex.engine.prefix import Name, PrefixCache
from cyrex.engine.request import AdapterKey
from cyrex.engine.sequence import TokenSequence

# Cost of a token: a prefill token costs about half a decoded one, as part of a large product.
PROMPT_TOKEN_COST = 1.0
ANSWER_TOKEN_COST = 2.0
# A queue is compacted when more than half of it, and more than this many, are ended sequences.
SPARE_SEQUENCES = 256


@dataclass(slots=True)
class Batch:
    """One step's work: sequences to decode, and (sequence, prompt tokens) to prefill."""

    decoding: list[TokenSequence]
    prompts: list[tuple[TokenSequence, int]]

    @property
    def sequences(self) -> list[TokenSequence]:
        return [*self.decoding, *(sequence for sequence, _ in self.prompts)]

    def parts(self) -> Iterator[Batch]:
        """The same work as batches of one sequence."""
        for sequence in self.decoding:
            yield Batch([sequence], [])
        for prompt in self.prompts:
            yield Batch([], [prompt])


@dataclass(slots=True)
class Lane:
    """One company's queue: its waiting sequences in order of arrival, and its counter.

    Sequences that have ended stay in `waiting` until they are skipped or compacted.
    """

    company: str
    counter: float
    waiting: deque[TokenSequence] = field(default_factory=deque)
    waiting_count: int = 0
    running_count: int = 0
    has_turn: bool = False

    def charge(self, cost: float) -> None:
        self.counter += cost


class Scheduler:
    """Waiting and running sequences. For the loop's thread alone."""

    def __init__(
        self, config: EngineConfig, cache: SlotCache, pool: AdapterPool, prefix: PrefixCache
    ) -> None:
        self._config = config
        self._cache = cache
        self._pool = pool
        self._prefix = prefix
        self._lanes: dict[str, Lane] = {}
        # A heap of waiting lanes by counter. An entry may be too low: then it is pushed again.
        self._turns: list[tuple[float, int, Lane]] = []
        self._numbers = itertools.count()
        # The counter of the last lane that got a slot: no waiting lane is below it.
        self._floor = 0.0
        self._deadlines: list[tuple[float, int, TokenSequence]] = []
        self.running: list[TokenSequence] = []
        self.waiting = 0
        self.kv_tokens = 0

    def add(self, sequence: TokenSequence) -> None:
        """Queue a sequence; it fails with QueueFull if its company's queue is full."""
        request = sequence.handle.request
        lane = self._lanes.get(request.company)
        if lane is None:
            lane = self._lanes[request.company] = Lane(request.company, self._floor)
        if lane.waiting_count >= self._config.max_waiting:
            sequence.fail(QueueFull(f"{request.company} has {lane.waiting_count} requests waiting"))
            return
        if not lane.waiting_count:
            lane.waiting.clear()
            lane.counter = max(lane.counter, self._floor)
            if not lane.has_turn:
                heapq.heappush(self._turns, (lane.counter, next(self._numbers), lane))
                lane.has_turn = True
        lane.waiting.append(sequence)
        lane.waiting_count += 1
        self.waiting += 1
        if request.deadline is not None:
            heapq.heappush(self._deadlines, (request.deadline, next(self._numbers), sequence))
            if len(self._deadlines) > 2 * (self.waiting + len(self.running)) + SPARE_SEQUENCES:
                self._deadlines = [entry for entry in self._deadlines if not entry[2].finished]
                heapq.heapify(self._deadlines)

    def drop(self, sequence: TokenSequence) -> None:
        """End a waiting sequence if it was cancelled or its deadline has passed."""
        if sequence.slot == NO_SLOT and not sequence.finished and sequence.give_up():
            lane = self._lanes[sequence.handle.request.company]
            self._left_queue(lane)
            if len(lane.waiting) > 2 * lane.waiting_count + SPARE_SEQUENCES:
                lane.waiting = deque(sequence for sequence in lane.waiting if not sequence.finished)

    def has_work(self) -> bool:
        return bool(self.waiting or self.running)

    def next_deadline(self) -> float | None:
        return self._deadlines[0][0] if self._deadlines else None

    def schedule(self) -> Batch | None:
        """The next step's batch, or None while there is nothing to compute."""
        self._drop_late()
        for sequence in self.running:
            error = sequence.adapter.error if sequence.adapter is not None else None
            if error is not None:
                sequence.fail(error)
            sequence.give_up()
        self.retire()
        self._admit()
        ready = [
            sequence
            for sequence in self.running
            if sequence.adapter is None or sequence.adapter.is_ready
        ]
        if not ready:
            return None
        return Batch([sequence for sequence in ready if sequence.tokens], self._prompts(ready))

    def _prompts(self, ready: Sequence[TokenSequence]) -> list[tuple[TokenSequence, int]]:
        """The prompt chunks of one step, in order of arrival, `prefill_chunk` tokens at most.

        A prompt that shares its first block with one that is being computed waits for it, then
        copies the prefix: ten requests with one system prompt compute it once.
        """
        prompts: list[tuple[TokenSequence, int]] = []
        beginnings: set[Name] = set()
        left = self._config.prefill_chunk
        for sequence in ready:
            if sequence.tokens or not left:
                continue
            company = sequence.handle.request.company
            beginning = self._prefix.unknown_beginning(company, sequence.key, sequence.prompt)
            if not sequence.computed:
                if beginning in beginnings:
                    continue
                sequence.cached = self._prefix.fetch(
                    company, sequence.key, sequence.prompt, sequence.slot
                )
                sequence.computed = sequence.cached
            if beginning is not None:
                beginnings.add(beginning)
            length = min(sequence.prompt_left, left)
            prompts.append((sequence, length))
            left -= length
        return prompts

    def charge(self, sequences: Sequence[TokenSequence]) -> None:
        """Charge each sequence's company for one decoded token."""
        for sequence in sequences:
            self._lanes[sequence.handle.request.company].charge(ANSWER_TOKEN_COST)

    def retire(self) -> None:
        """Free the slots, pins and budget of running sequences that have ended."""
        if not any(sequence.finished for sequence in self.running):
            return
        for sequence in self.running:
            if sequence.finished:
                self._cache.give_back(sequence.slot)
                sequence.slot = NO_SLOT
                if sequence.adapter is not None:
                    self._pool.release(sequence.adapter)
                self.kv_tokens -= sequence.most_tokens
                self._lanes[sequence.handle.request.company].running_count -= 1
        self.running = [sequence for sequence in self.running if not sequence.finished]
        if not self.has_work():
            self._forget()

    def fail_all(self, error: EngineError) -> None:
        """Fail all waiting and running sequences."""
        for lane in self._lanes.values():
            for sequence in lane.waiting:
                sequence.fail(error)
            lane.waiting_count = 0
        for sequence in self.running:
            sequence.fail(error)
        self.waiting = 0
        self.retire()

    def _admit(self) -> None:
        """Give free slots to waiting sequences, the company with the lowest counter first.

        A sequence that does not fit the KV budget blocks all behind it. A sequence whose adapter
        has no room does not: others may pass it (`_passes`), and its company stays the next.
        """
        passed_over: list[tuple[float, int, Lane]] = []
        limit = self._overtaking_limit()
        while self._cache.free_slots:
            lane = self._whose_turn()
            if lane is None:
                break
            sequence = lane.waiting[0]
            if (
                sequence.key is not None
                and limit is not None
                and not self._passes(sequence.key, lane, limit)
            ):
                passed_over.append(heapq.heappop(self._turns))
                continue
            # Alone, even a sequence above the budget runs: it is within the model's context.
            fits = self.kv_tokens + sequence.most_tokens <= self._config.kv_tokens
            if not fits and self.running:
                break
            lane.waiting.popleft()
            self._left_queue(lane)
            self._start(sequence, lane)
        for entry in passed_over:
            heapq.heappush(self._turns, entry)

    def _overtaking_limit(self) -> float | None:
        """While an adapter waits for room: the lowest counter among the companies whose running
        sequences wait for adapters. None: there is room."""
        if not self._pool.is_full:
            return None
        sequences = (
            sequence
            for sequence in self.running
            if sequence.adapter is not None and not sequence.adapter.is_ready
        )
        return min(
            (self._lanes[sequence.handle.request.company].counter for sequence in sequences),
            default=0.0,
        )

    def _passes(self, key: AdapterKey, lane: Lane, limit: float) -> bool:
        """Whether a sequence with this adapter may start while another adapter waits for room.

        Its adapter must be loaded already. It stays pinned, which delays the waiting one, so the
        company's counter must also be below that one's: that bounds the wait.
        """
        return lane.counter < limit and self._pool.holds(key)

    def _whose_turn(self) -> Lane | None:
        """The waiting lane with the lowest counter; its first sequence has not ended."""
        while self._turns:
            counter, number, lane = self._turns[0]
            if not lane.waiting_count:
                heapq.heappop(self._turns)
                lane.has_turn = False
            elif lane.counter > counter:
                heapq.heapreplace(self._turns, (lane.counter, number, lane))
            else:
                while lane.waiting[0].finished:
                    lane.waiting.popleft()
                return lane
        return None

    def _start(self, sequence: TokenSequence, lane: Lane) -> None:
        self._floor = max(self._floor, lane.counter)
        lane.charge(PROMPT_TOKEN_COST * len(sequence.prompt))
        lane.running_count += 1
        sequence.started_at = time.monotonic()
        sequence.slot = self._cache.take()
        self.kv_tokens += sequence.most_tokens
        self.running.append(sequence)
        adapter = sequence.handle.request.adapter
        if adapter is not None:
            sequence.adapter = self._pool.acquire(adapter)

    def _drop_late(self) -> None:
        now = time.monotonic()
        while self._deadlines and self._deadlines[0][0] <= now:
            self.drop(heapq.heappop(self._deadlines)[2])

    def _left_queue(self, lane: Lane) -> None:
        lane.waiting_count -= 1
        self.waiting -= 1

    def _forget(self) -> None:
        """Reset all counters, as nothing waits or runs; everything must have been freed."""
        assert self.kv_tokens == 0 and self._cache.is_empty
        assert not any(lane.running_count or lane.waiting_count for lane in self._lanes.values())
        self._lanes.clear()
        self._turns.clear()
        self._deadlines.clear()
        self._floor = 0.0
