"""Whose turn it is. Companies take turns; a turn is a few steps of one batch.

A company has one lane: its waiting rows in order of arrival, and at most one running batch. New
rows with the running batch's adapter join it; rows with another adapter wait until it has ended.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cyrex.engine.batch import Batch, Row
from cyrex.engine.errors import EngineError
from cyrex.engine.request import AdapterKey

# Prompt tokens that one turn may read: what bounds another company's wait.
TURN_PROMPT_TOKENS = 4096
# Steps of a turn while other companies have work: switching adapters costs about a tenth of one.
TURN_STEPS = 8
# Joining copies the batch's cache, so rows wait until they are this share of it, or this long.
JOIN_SHARE = 0.5
JOIN_STEPS = 8
# How often waiting rows are searched for cancelled and late ones.
SWEEP_SECONDS = 0.02
# Rows looked at in a lane's queue when its rows name different adapters.
LOOK_AHEAD_ROWS = 1024


@dataclass(slots=True)
class Lane:
    """One company's work."""

    company: str
    waiting: deque[Row] = field(default_factory=deque)
    batch: Batch | None = None


@dataclass(slots=True)
class Turn:
    """Run `batch` for `steps` steps, after `admitted` have joined it."""

    batch: Batch
    admitted: list[Row]
    steps: int


class Scheduler:
    """Waiting and running rows. For the loop's thread alone."""

    def __init__(
        self, make_batch: Callable[[AdapterKey | None], Batch], max_batch: int, kv_tokens: int
    ) -> None:
        self._make_batch = make_batch
        self._max_batch = max_batch
        self._kv_tokens = kv_tokens
        # In order of turns: the first is next.
        self._lanes: OrderedDict[str, Lane] = OrderedDict()
        # A lane whose next row did not fit: nobody else is admitted before it.
        self._blocked: str | None = None
        self._next_sweep = 0.0

    def add(self, row: Row) -> None:
        company = row.handle.request.company
        self._lanes.setdefault(company, Lane(company)).waiting.append(row)

    def has_work(self) -> bool:
        return bool(self._lanes)

    def waiting_rows(self) -> int:
        return sum(len(lane.waiting) for lane in self._lanes.values())

    def running(self) -> Iterator[Batch]:
        return (lane.batch for lane in self._lanes.values() if lane.batch is not None)

    def next(self) -> Turn | None:
        """The next turn, or None when there is nothing to do."""
        self._clean()
        for company in list(self._lanes):
            lane = self._lanes[company]
            admitted = self._admit(lane)
            if admitted and lane.batch is None:
                lane.batch = self._make_batch(admitted[0].key)
            if lane.batch is not None:
                self._lanes.move_to_end(company)
                steps = 1 if len(self._lanes) == 1 else TURN_STEPS
                return Turn(lane.batch, admitted, steps)
        return None

    def fail_all(self, error: EngineError) -> None:
        """End everything that waits or runs."""
        for lane in self._lanes.values():
            for row in lane.waiting:
                row.fail(error)
            if lane.batch is not None:
                lane.batch.fail(error)
        self._lanes.clear()
        self._blocked = None

    def _admit(self, lane: Lane) -> list[Row]:
        """Take from the lane's queue what may start now."""
        if not lane.waiting or self._blocked not in (None, lane.company):
            return []
        self._blocked = None
        live = len(lane.batch.live) if lane.batch is not None else 0
        key = lane.waiting[0].key
        if lane.batch is not None and (lane.batch.key != key or not _may_join(lane, live)):
            return []
        budget = self._kv_tokens - sum(
            row.most_tokens for batch in self.running() for row in batch.live
        )
        prompt_tokens = 0
        admitted: list[Row] = []
        passed_over: list[Row] = []
        while lane.waiting and len(admitted) + live < self._max_batch:
            row = lane.waiting.popleft()
            if row.key != key:
                passed_over.append(row)
                if len(passed_over) == LOOK_AHEAD_ROWS:
                    break
                continue
            budget -= row.most_tokens
            prompt_tokens += len(row.prompt)
            # Alone, even a row above the budget runs: it is within the model's context.
            is_alone = not admitted and not any(True for _ in self.running())
            fits = budget >= 0 or is_alone
            if not fits or (admitted and prompt_tokens > TURN_PROMPT_TOKENS):
                lane.waiting.appendleft(row)
                self._blocked = None if fits else lane.company
                break
            admitted.append(row)
        lane.waiting.extendleft(reversed(passed_over))
        return admitted

    def _clean(self) -> None:
        """Drop ended batches, rows that gave up while they waited, and empty lanes."""
        now = time.monotonic()
        is_sweep = now >= self._next_sweep
        if is_sweep:
            self._next_sweep = now + SWEEP_SECONDS
        for company, lane in list(self._lanes.items()):
            if lane.batch is not None and not lane.batch.live:
                lane.batch = None
            if is_sweep:
                lane.waiting = deque(row for row in lane.waiting if not row.give_up())
            if not lane.waiting and self._blocked == company:
                self._blocked = None
            if not lane.waiting and lane.batch is None:
                del self._lanes[company]


def _may_join(lane: Lane, live: int) -> bool:
    assert lane.batch is not None
    enough = len(lane.waiting) >= JOIN_SHARE * live
    return enough or lane.batch.steps_since_admit >= JOIN_STEPS
