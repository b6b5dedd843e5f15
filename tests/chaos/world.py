"""A small past to plant faults in, for the tests of the audit."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import func, select, update

from cyrex.jobs import service as jobs
from database.base import new_id
from database.models import (
    CompanyMemory,
    Decision,
    Inbox,
    Job,
    JobStep,
    LoraAdapter,
    Outbox,
    ToolCall,
    Usage,
)
from database.session import operator_session
from modelkit.blobs.directory import DirectoryBlobs
from tests.chaos.audit import audit
from tests.chaos.checks.sources import Sources
from tests.chaos.ledger import Asked
from tests.chaos.plan import IDEMPOTENT, ONCE
from tests.chaos.rows import Rows
from tests.chaos.tools import Arrival
from tests.support import rows as made

CLEAN = {"lost": 0, "doubled": 0, "orphans": 0, "stuck": 0}


def found(**kinds: int) -> dict[str, int]:
    return {**CLEAN, **kinds}


class World:
    """A small past, as the product would have left it, and the ledger beside it."""

    def __init__(self, url: str, redis_url: str, folder: Path) -> None:
        self.rows = Rows(url)
        self.streams = redis.Redis.from_url(redis_url)
        self.blobs = DirectoryBlobs(folder / "blobs")
        self.work = folder / "work"
        self.asked: list[Asked] = []
        self.arrivals: list[Arrival] = []
        self.versions: list[tuple[str, int, str]] = []
        self.flushes: list[float] = []
        self.company = made.company()

    def job(self, kind: str = "job", company: str = "", **values: Any) -> str:
        """A job that was asked for and has completed in every respect."""
        company = company or self.company
        marker = new_id()
        job_id = made.job(company, status="completed", details={"marker": marker})
        made.change(Job, job_id, **{"output_data": {"result": "yes"}, **values})
        of = {"company_id": company, "job_id": job_id}
        with operator_session() as session:
            session.add(JobStep(**of, number=1, kind="answer", content={}))
            session.add(CompanyMemory(**of, kind="result", content="yes"))
            session.add(Usage(company_id=company, kind="job", reference=job_id))
            jobs.end(session, session.get_one(Job, job_id))
        self.asked.append(Asked(kind, company, marker, job_id, time.time()))
        return job_id

    def call(self, company: str, status: str = "completed") -> ToolCall:
        """A job of `company` with a call that arrived."""
        job_id = self.job("tool_once" if company == ONCE else "tool_idempotent", company)
        order = new_id()
        row = ToolCall(
            call_id=new_id(),
            company_id=company,
            job_id=job_id,
            tool_name="get_order",
            arguments={"order_id": order},
            status=status,
            step="call",
            sent_at=func.now(),
        )
        with operator_session() as session:
            session.add(row)
        key = row.call_id if company == IDEMPOTENT else None
        self.arrivals.append(Arrival(company, order, key, time.time()))
        return row

    def adapter(self) -> str:
        adapter_id = made.adapter(
            self.company, status="ready", sha256="a" * 64, registry_path="models/x"
        )
        row = made.get(LoraAdapter, adapter_id)
        with operator_session() as session:
            of = {"company_id": self.company, "adapter_id": adapter_id}
            session.add(Decision(**of, outcome="promoted", reason="better"))
        self.versions.append((self.company, row.version, "a" * 64))
        return adapter_id

    def counts(self) -> dict[str, int]:
        """The audit's, once every event has been carried and read."""
        self.settle()
        return self.look()

    def settle(self) -> None:
        with operator_session() as session:
            session.execute(update(Outbox).values(published_at=func.now()))
            seen = select(Inbox.event_id)
            for event_id, stream in session.execute(
                select(Outbox.event_id, Outbox.stream).where(Outbox.event_id.not_in(seen))
            ):
                session.add(
                    Inbox(event_id=event_id, stream=stream, entry_id="1-0", outcome="applied")
                )

    def look(self) -> dict[str, int]:
        report = audit(
            Sources(
                rows=self.rows,
                streams=self.streams,
                asked=self.asked,
                arrivals=self.arrivals,
                versions=self.versions,
                blobs=self.blobs.root,
                work=self.work,
                flushes=self.flushes,
            )
        )
        return report.counts()
