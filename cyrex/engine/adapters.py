"""The adapters in memory: loaded by a thread beside the decode loop, evicted by LRU.

An adapter's key is (company, id, SHA-256). Running sequences pin theirs; a pinned adapter is never
evicted. A load that fails leaves nothing allocated.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

import numpy as np
import torch

from cyrex.engine import adapter_file
from cyrex.engine.adapter_file import Pair, Place, Staging
from cyrex.engine.arena import ALIGNMENT, Arena, aligned
from cyrex.engine.errors import AdapterRefused, EngineClosed, EngineError
from cyrex.engine.handle import ResidentAdapter
from cyrex.engine.kernels import RANK_BLOCK, place
from cyrex.engine.request import AdapterKey, AdapterRef

logger = logging.getLogger(__name__)


class Adapter:
    """One adapter that is loading or loaded. The pool's lock guards all fields."""

    __slots__ = ("done", "error", "index", "is_ready", "offset", "pins", "ref", "size", "views")

    def __init__(self, ref: AdapterRef) -> None:
        self.ref = ref
        self.pins = 0
        # Done when loading ends or fails; the two fields below say the same at less cost.
        self.done: Future[None] = Future()
        self.is_ready = False
        self.error: EngineError | None = None
        # The adapter's column in the pool's tables, and its piece of the arena.
        self.index = -1
        self.offset, self.size = 0, 0
        # By layer index: A (rank, in), and B (rank, out) with the scale in it.
        self.views: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}


class AdapterPool:
    """Loaded adapters, and the thread that loads them. Thread-safe.

    a_at, b_at: (layers, adapters + 1) int64, offsets in `arena` of each loaded adapter's matrices.
    ranks: the same shape. The last column stands for "no adapter": rank 0 everywhere.
    """

    def __init__(
        self,
        places: Mapping[str, Place],
        max_adapters: int,
        arena: Arena,
        on_change: Callable[[], None],
    ) -> None:
        """`on_change` is called on the loading thread when an adapter is ready or refused."""
        self.arena = arena
        self.none = max_adapters
        shape = (len(places), max_adapters + 1)
        self.a_at, self.b_at = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self.ranks = np.zeros(shape, np.int64)
        self.loads, self.evictions = 0, 0
        # An adapter waits for others to be unpinned: no more should be requested meanwhile.
        self.is_full = False
        self._places = places
        self._staging = Staging()
        self._on_change = on_change
        self._changed = threading.Condition(threading.Lock())
        self._adapters: OrderedDict[AdapterKey, Adapter] = OrderedDict()
        self._columns = list(reversed(range(max_adapters)))
        self._wanted: queue.SimpleQueue[Adapter | None] = queue.SimpleQueue()
        self._is_closed = False
        self._thread = threading.Thread(target=self._main, name="load-adapters", daemon=True)
        self._thread.start()

    def acquire(self, ref: AdapterRef) -> Adapter:
        """Pin the adapter and start loading it unless it is loaded. Undo it with `release`.

        Raises EngineClosed.
        """
        with self._changed:
            if self._is_closed:
                raise EngineClosed("the engine is closed")
            adapter = self._adapters.get(ref.key)
            if adapter is None:
                adapter = self._adapters[ref.key] = Adapter(ref)
                self._wanted.put(adapter)
            adapter.pins += 1
            self._adapters.move_to_end(ref.key)
            return adapter

    def release(self, adapter: Adapter) -> None:
        with self._changed:
            assert adapter.pins > 0
            adapter.pins -= 1
            if self._adapters.get(adapter.ref.key) is adapter:
                self._adapters.move_to_end(adapter.ref.key)
            self._changed.notify_all()

    def resident(self) -> list[ResidentAdapter]:
        """The loaded adapters, the least recently used first."""
        with self._changed:
            return [
                ResidentAdapter(key, adapter.size * self.arena.itemsize)
                for key, adapter in self._adapters.items()
                if adapter.is_ready
            ]

    def holds(self, key: AdapterKey) -> bool:
        """Whether this adapter is loaded."""
        with self._changed:
            adapter = self._adapters.get(key)
            return adapter is not None and adapter.is_ready

    @property
    def pins(self) -> int:
        with self._changed:
            return sum(adapter.pins for adapter in self._adapters.values())

    def close(self) -> None:
        """End the loading thread; adapters that it has not loaded fail with EngineClosed."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._wanted.put(None)
        self._thread.join()

    # ---- the loading thread ----

    def _main(self) -> None:
        while (adapter := self._wanted.get()) is not None:
            try:
                with torch.inference_mode():
                    self._load(adapter)
            except Exception as error:
                if not isinstance(error, EngineError):
                    logger.exception(
                        "adapter %s of %s", adapter.ref.adapter_id, adapter.ref.company
                    )
                    error = AdapterRefused(f"adapter {adapter.ref.adapter_id}: {error!r}"[:500])
                with self._changed:
                    del self._adapters[adapter.ref.key]
                adapter.error = error
                adapter.done.set_exception(error)
            else:
                adapter.is_ready = True
                adapter.done.set_result(None)
            self._on_change()
            if self._wanted.empty():
                self.arena.touch(adapter.size)  # Ahead of the next adapter of this size.

    def _load(self, adapter: Adapter) -> None:
        """Read, check, make room, copy. Raises AdapterRefused or EngineClosed."""
        if self._is_closed:
            raise EngineClosed("the engine is closed")
        pairs = adapter_file.read(adapter.ref, self._places, self._staging)
        size = sum(_padded(p.rank) * (p.place.inputs + p.place.outputs) for p in pairs)
        adapter.size = aligned(size)
        if adapter.size > self.arena.size:
            total = adapter.size * self.arena.itemsize
            raise AdapterRefused(
                f"adapter {adapter.ref.adapter_id}: {total} bytes exceed the budget"
            )
        column = self._make_room(adapter)
        try:
            self._copy(adapter, pairs)
        except BaseException:
            with self._changed:
                self._give_back(adapter, column)
            raise
        for table in (self.a_at, self.b_at, self.ranks):
            table[:, column] = 0
        for index, (a, b) in adapter.views.items():
            self.a_at[index, column] = a.storage_offset()
            self.b_at[index, column] = b.storage_offset()
            self.ranks[index, column] = len(a)
        adapter.index = column
        self.loads += 1

    def _copy(self, adapter: Adapter, pairs: Sequence[Pair]) -> None:
        """Copy into the adapter's piece of the arena. Raises AdapterRefused for NaN, infinity."""
        memory, end = self.arena.memory, adapter.offset
        piece = memory[end : end + adapter.size]
        is_padded = any(pair.rank % RANK_BLOCK for pair in pairs)
        (piece if is_padded else piece[-ALIGNMENT:]).zero_()
        for pair in pairs:
            rank = _padded(pair.rank)
            views = []
            for width in (pair.place.inputs, pair.place.outputs):
                views.append(memory[end : end + rank * width].view(rank, width))
                end += rank * width
            if not _placed(pair, views[0][: pair.rank], views[1][: pair.rank]):
                name = adapter.ref.adapter_id
                raise AdapterRefused(f"adapter {name}: its weights are not finite")
            adapter.views[pair.place.index] = (views[0], views[1])

    def _make_room(self, adapter: Adapter) -> int:
        """Allocate a column and a piece of the arena, waiting until there is room. Returns the
        column. Raises EngineClosed."""
        with self._changed:
            while not self._fits(adapter):
                self.is_full = True
                self._changed.wait()
                if self._is_closed:
                    raise EngineClosed("the engine is closed")
            self.is_full = False
            return self._columns.pop()

    def _fits(self, adapter: Adapter) -> bool:
        """Allocate the piece, evicting unpinned adapters, the least recently used first."""
        while True:
            if self._columns:
                offset = self.arena.take(adapter.size)
                if offset is not None:
                    adapter.offset = offset
                    return True
            idle = (a for a in self._adapters.values() if not a.pins and a.index >= 0)
            victim = next(idle, None)
            if victim is None:
                return False
            del self._adapters[victim.ref.key]
            self._give_back(victim, victim.index)
            self.evictions += 1

    def _give_back(self, adapter: Adapter, column: int) -> None:
        adapter.views.clear()
        self.arena.give_back(adapter.offset, adapter.size)
        self._columns.append(column)


def _placed(pair: Pair, a: torch.Tensor, b: torch.Tensor) -> bool:
    """Copy A to `a` (rank, in), scaled B to `b` (rank, out); returns whether all is finite."""
    if a.device.type == "cpu":
        down, up = (np.require(t.float().numpy(), None, ["C", "A"]) for t in (pair.down, pair.up))
        return bool(place(down, up, pair.scale, a.numpy(), b.numpy()))
    a.copy_(pair.down)
    b.copy_(pair.up.T).mul_(pair.scale)
    return bool(a.isfinite().all() & b.isfinite().all())


def _padded(rank: int) -> int:
    return -(-rank // RANK_BLOCK) * RANK_BLOCK
