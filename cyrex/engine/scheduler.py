"""Whose turn it is: a fair share for every company, by virtual token counters.

Every company has a queue and a counter of the tokens that it was given.
The next free slot goes to the company that waits with the lowest counter. Who comes back from a
pause starts where the others are: idle time is not saved up.
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

# What a token counts: reading one costs about half of writing one, as part of a large product.
PROMPT_TOKEN_COST = 1.0
ANSWER_TOKEN_COST = 2.0
# Queues are cleared of ended sequences when those are the greater part, and this many.
SPARE_SEQUENCES = 256


@dataclass(slots=True)
class Batch:
    """One step's work: sequences that decode a token, and (sequence, prompt tokens to read)."""

    decoding: list[TokenSequence]
    prompts: list[tuple[TokenSequence, int]]

    @property
    def sequences(self) -> list[TokenSequence]:
        return [*self.decoding, *(sequence for sequence, _ in self.prompts)]

    def parts(self) -> Iterator[Batch]:
        """Each sequence alone."""
        for sequence in self.decoding:
            yield Batch([sequence], [])
        for prompt in self.prompts:
            yield Batch([], [prompt])


@dataclass(slots=True)
class Lane:
    """One company: its waiting sequences in order of arrival (ended ones are skipped)."""

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
        # Lanes that wait, by counter. A counter may have grown since: then it is put back.
        self._turns: list[tuple[float, int, Lane]] = []
        self._numbers = itertools.count()
        # The counter of whom was served last: nobody who waits is below it.
        self._floor = 0.0
        self._deadlines: list[tuple[float, int, TokenSequence]] = []
        self.running: list[TokenSequence] = []
        self.waiting = 0
        self.kv_tokens = 0

    def add(self, sequence: TokenSequence) -> None:
        """Queue a sequence; it fails at once where its company's queue is full."""
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
        """End a sequence that waits and was cancelled or is late."""
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
        """What is read of prompts in one step, in order of arrival.

        A prompt that begins like one that is being read waits for it, and copies the beginning:
        a company that asks ten things at once has its system prompt computed once.
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
        """Each of these sequences was given a token."""
        for sequence in sequences:
            self._lanes[sequence.handle.request.company].charge(ANSWER_TOKEN_COST)

    def retire(self) -> None:
        """Take back what sequences that have ended held."""
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
        """End everything that waits or runs."""
        for lane in self._lanes.values():
            for sequence in lane.waiting:
                sequence.fail(error)
            lane.waiting_count = 0
        for sequence in self.running:
            sequence.fail(error)
        self.waiting = 0
        self.retire()

    def _admit(self) -> None:
        """Give free slots to whose turn it is. None overtakes a sequence that does not fit yet, but
        for an adapter that has no room: then others go on, and its company stays the next."""
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
        """While an adapter waits for others to be unpinned: the lowest counter of the companies
        whose sequences wait for one. None: there is room."""
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
        """Whether a sequence with this adapter may start although another one waits for room.

        It needs none if its adapter is there, but keeps that one's. Who got more than the one
        that waits leaves the room to it, so that it waits for so long and no longer.
        """
        return lane.counter < limit and self._pool.holds(key)

    def _whose_turn(self) -> Lane | None:
        """The lane with the lowest counter of those that wait; its first sequence is alive."""
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
        """Nobody competes with anybody: all start anew, and nothing may be held any more."""
        assert self.kv_tokens == 0 and self._cache.is_empty
        assert not any(lane.running_count or lane.waiting_count for lane in self._lanes.values())
        self._lanes.clear()
        self._turns.clear()
        self._deadlines.clear()
        self._floor = 0.0
