"""The broker's share of a commit: hints are collected before it and given after it, each once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import structlog

from cyrex.logs import one_line
from cyrex.work.lease import Hint
from database.session import DATABASE_ERRORS
from tasks.broker.dispatch import admit_many, broadcast, hint_settle, publish_all

log = structlog.get_logger()


@dataclass
class Handover:
    """Collects admitted rows, companies whose next rows may be admitted, adapters to warm, and
    companies for which a person has decided something.

    All of it is a hint: a row whose change was undone after all offers nothing to claim, and the
    reconciler makes good what fails or dies with the process. No lock: one thread at a time.
    """

    rows: list[Hint] = field(default_factory=list)
    # (kind, company_id)
    companies: set[tuple[str, str]] = field(default_factory=set)
    # (company_id, adapter_id)
    adapters: set[tuple[str, str]] = field(default_factory=set)
    decided: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.rows or self.companies or self.adapters or self.decided)

    def give(self) -> None:
        """Give everything collected since the last call. Call after the commit; never raises."""
        rows, self.rows = self.rows, []
        companies, self.companies = self.companies, set()
        adapters, self.adapters = self.adapters, set()
        decided, self.decided = self.decided, set()
        _attempt(partial(publish_all, rows))
        for kind in sorted({kind for kind, _company_id in companies}):
            _attempt(partial(admit_many, kind, sorted(c for k, c in companies if k == kind)))
        for company_id, adapter_id in sorted(adapters):
            arguments = {"company_id": company_id, "adapter_id": adapter_id}
            _attempt(partial(broadcast, "warm_adapter", arguments))
        for company_id in sorted(decided):
            _attempt(partial(hint_settle, company_id))


def _attempt(act: Callable[[], object]) -> None:
    """The rows are committed: one failure must neither reach the caller nor stop the rest."""
    try:
        act()
    except DATABASE_ERRORS as error:
        log.warning("not_handed_over", error=one_line(error))
    except Exception:
        log.exception("not_handed_over")
