"""The adapters that an inference worker answers with, and the watch over their rows.

One thread reads the rows of all adapters in use, in one statement every `LOOK_SECONDS`. So what is
retired or deleted ends here within a second, answers under way too, and a request costs no look.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog
from sqlalchemy import select

from cyrex.adapters.service import check_base
from cyrex.engine import AdapterRef
from cyrex.errors import NotFound, UserError
from cyrex.jobs.requests import adapter_ref
from cyrex.logs import one_line
from database.models import LoraAdapter
from database.session import DATABASE_ERRORS, company_session, operator_session

log = structlog.get_logger()

# A package is fetched and verified again after so long; its bytes never change.
REF_SECONDS = 10.0
LOOK_SECONDS = 0.4
# A look that is older than this is not trusted: the request looks itself.
TRUSTED_SECONDS = 0.5
MAX_KNOWN = 4096
# States in which an adapter answers nothing.
ENDED = ("retired", "deleted")

Key = tuple[str, str, str]  # (company_id, adapter_id, sha256)
Facts = tuple[str, str | None]  # (status, sha256)


@dataclass
class Use:
    """One answer under way. `refusal`: why it is to end; None: nothing is wrong."""

    refusal: UserError | None = None
    _stop: Callable[[], None] | None = None

    def on_refusal(self, stop: Callable[[], None]) -> None:
        """Call `stop` when the adapter may answer no more: at once if that is so already."""
        self._stop = stop
        if self.refusal is not None:
            stop()

    def refuse(self, refusal: UserError) -> None:
        self.refusal = refusal
        if self._stop is not None:
            self._stop()


@dataclass
class _Known:
    """An adapter that was asked for. Times are of the monotonic clock."""

    ref: AdapterRef
    verified_at: float
    looked_at: float
    asked_at: float
    uses: list[Use] = field(default_factory=list)


class AdapterWatch:
    """Thread-safe. Without `start` every request looks itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Key, _Known] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="adapter-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Does not wait for it."""
        self._stop.set()

    def ref_of(self, company_id: str, adapter_id: str, sha256: str) -> AdapterRef:
        """A company's adapter as the engine is to load it. Raises `UserError`.

        Its row was read at most `TRUSTED_SECONDS` ago, its package verified `REF_SECONDS` ago.
        """
        key = (company_id, adapter_id, sha256)
        now = time.monotonic()
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                known.asked_at = now
                if known.looked_at > now - TRUSTED_SECONDS and not _is_old(known, now):
                    return known.ref
        with company_session(company_id) as session:
            adapter = session.get(LoraAdapter, adapter_id)
        refusal = refusal_of(adapter_id, sha256, _facts(adapter))
        if refusal is not None:
            self._drop(key, refusal)
            raise refusal
        assert adapter is not None
        check_base(adapter)
        if known is not None and not _is_old(known, now):
            known.looked_at = now
            return known.ref
        return self._remember(key, adapter_ref(adapter), now)

    @contextmanager
    def using(self, ref: AdapterRef | None) -> Iterator[Use]:
        """For as long as an answer is under way; None: the base model, which is never refused."""
        use = Use()
        if ref is None:
            yield use
            return
        key = (ref.company, ref.adapter_id, ref.sha256)
        with self._lock:
            known = self._known.get(key)
            if known is None:  # it was dropped since it was asked for
                known = self._known[key] = _Known(ref, 0.0, 0.0, time.monotonic())
            known.uses.append(use)
        try:
            yield use
        finally:
            with self._lock:
                known.uses.remove(use)

    def look(self) -> None:
        """Read the rows of all adapters in use; stop the answers of those that may not answer."""
        now = time.monotonic()
        with self._lock:
            watched = list(self._known)
        if not watched:
            return
        query = select(LoraAdapter.adapter_id, LoraAdapter.status, LoraAdapter.sha256)
        with operator_session() as session:
            rows = session.execute(query.where(LoraAdapter.adapter_id.in_({k[1] for k in watched})))
            found = {adapter_id: (status, sha256) for adapter_id, status, sha256 in rows}
        for key in watched:
            _company_id, adapter_id, sha256 = key
            refusal = refusal_of(adapter_id, sha256, found.get(adapter_id))
            if refusal is not None:
                self._drop(key, refusal)
                continue
            with self._lock:
                known = self._known.get(key)
                if known is not None:
                    known.looked_at = now
                    if not known.uses and known.asked_at < now - REF_SECONDS:
                        del self._known[key]

    def _remember(self, key: Key, ref: AdapterRef, looked_at: float) -> AdapterRef:
        with self._lock:
            if len(self._known) >= MAX_KNOWN:
                self._known = {k: known for k, known in self._known.items() if known.uses}
            known = self._known.setdefault(key, _Known(ref, looked_at, looked_at, looked_at))
            known.ref, known.verified_at, known.looked_at = ref, looked_at, looked_at
        return ref

    def _drop(self, key: Key, refusal: UserError) -> None:
        with self._lock:
            known = self._known.pop(key, None)
            uses = list(known.uses) if known is not None else []
        for use in uses:
            use.refuse(refusal)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                self.look()
            except DATABASE_ERRORS as error:
                # Nothing is retired either while the database is away.
                log.warning("adapters_not_watched", error=one_line(error))
            except Exception:  # without this thread nothing would be stopped
                log.exception("adapters_not_watched")


def _is_old(known: _Known, now: float) -> bool:
    return known.verified_at < now - REF_SECONDS


def _facts(adapter: LoraAdapter | None) -> Facts | None:
    return (adapter.status, adapter.sha256) if adapter is not None else None


def refusal_of(adapter_id: str, sha256: str, row: Facts | None) -> UserError | None:
    """Why an adapter may not answer. row: its status and identity; None: there is none."""
    if row is None:
        return NotFound("model_not_found", f"there is no adapter {adapter_id!r}", param="model")
    status, identity = row
    if status in ENDED:
        message = f"adapter {adapter_id!r} was {status} and answers no more"
        return NotFound("model_not_found", message, param="model")
    if identity != sha256:
        return UserError("adapter_changed", f"adapter {adapter_id} has other bytes by now")
    return None
