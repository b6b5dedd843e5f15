"""A company's memory: one line for each finished job, recalled for the next job's prompt."""

from __future__ import annotations

import re
from typing import Any, cast

from sqlalchemy import Table, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from cyrex.errors import NotFound
from database.base import Json, new_id
from database.models import CompanyMemory, Job
from helox.render import content_of

RESULT = "result"
# The data and the result of a job are each cut off after this many characters.
MAX_CHARACTERS = 2000
# The newest memories are this share of those recalled; the others fit the question best.
RECENT_SHARE = 0.5
# Shorter words are in every text, and a long question is not answered better than a short one.
WORD = re.compile(r"\w{3,}")
MAX_WORDS = 32
MAX_QUERY_CHARACTERS = 20_000
# Divides a rank by the logarithm of the text's length.
BY_LENGTH = 1
# No index on rank: of so many newest matches the best are taken.
RANKED = 1000


REMEMBER = insert(cast(Table, CompanyMemory.__table__)).inline().on_conflict_do_nothing()


def remember_job(session: Session, job: Job, result: Any) -> None:
    """Store a job's data and its result, once, in the transaction that ends the job."""
    asked, brought = (_line(value) for value in (_data(job), result))
    session.execute(
        REMEMBER,
        {
            "memory_id": new_id(),
            "company_id": job.company_id,
            "job_id": job.job_id,
            "kind": RESULT,
            "content": f"{job.job_type}: {asked} → {brought}",
        },
    )


def _data(job: Job) -> Any:
    data = job.input_data["data"]
    return data["input"] if isinstance(data, dict) and set(data) == {"input"} else data


def _line(value: Any) -> str:
    """A value on one line, cut off at its limit."""
    text = " ".join(content_of(value).split())
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1] + "…"


def recall(session: Session, company_id: str, query: str, limit: int) -> list[CompanyMemory]:
    """At most `limit` memories, oldest first: the newest, and others that fit `query` best.

    When too few memories fit, more of the newest are taken.
    """
    if limit <= 0:
        return []
    newest = list_memory(session, company_id, limit=limit)
    recent = newest[: max(1, round(limit * RECENT_SHARE))]
    fitting = (
        _fitting(session, company_id, query, recent[-1], limit - len(recent)) if recent else []
    )
    chosen = {row.memory_id: row for row in (*recent, *fitting)}
    for row in newest:
        if len(chosen) < limit:
            chosen.setdefault(row.memory_id, row)
    return [chosen[key] for key in sorted(chosen)]


def _fitting(
    session: Session, company_id: str, query: str, before: CompanyMemory, limit: int
) -> list[CompanyMemory]:
    """Memories older than `before` with any of the query's words, best first."""
    words = dict.fromkeys(WORD.findall(query[:MAX_QUERY_CHARACTERS].lower()))
    longest = sorted(words, key=len, reverse=True)[:MAX_WORDS]
    if limit <= 0 or not longest:
        return []
    asked = func.websearch_to_tsquery("simple", " or ".join(longest))
    matching = (
        select(CompanyMemory.memory_id)
        .where(
            CompanyMemory.company_id == company_id,
            CompanyMemory.memory_id < before.memory_id,
            CompanyMemory.words.op("@@")(asked),
        )
        .order_by(CompanyMemory.memory_id.desc())
        .limit(RANKED)
    )
    rank = func.ts_rank(CompanyMemory.words, asked, BY_LENGTH)
    return list(
        session.scalars(
            select(CompanyMemory)
            .where(CompanyMemory.memory_id.in_(matching))
            .order_by(rank.desc(), CompanyMemory.memory_id.desc())
            .limit(limit)
        )
    )


def list_memory(
    session: Session,
    company_id: str | None = None,
    query: str | None = None,
    limit: int = 50,
    after: str | None = None,
) -> list[CompanyMemory]:
    """Newest first; with `query`, those that match it (words, "phrases", or, -not)."""
    found = select(CompanyMemory).order_by(CompanyMemory.memory_id.desc()).limit(limit)
    if company_id is not None:
        found = found.where(CompanyMemory.company_id == company_id)
    if query is not None:
        asked = func.websearch_to_tsquery("simple", query)
        found = found.where(CompanyMemory.words.op("@@")(asked))
    if after is not None:
        found = found.where(CompanyMemory.memory_id < after)
    return list(session.scalars(found))


def forget(session: Session, memory_id: str) -> None:
    """Raises `NotFound`."""
    gone = session.scalar(
        delete(CompanyMemory)
        .where(CompanyMemory.memory_id == memory_id)
        .returning(CompanyMemory.memory_id)
    )
    if gone is None:
        raise NotFound("memory_not_found", f"there is no memory {memory_id!r}", "memory_id")


def forget_all(session: Session, company_id: str) -> int:
    """Delete all of a company's memories; returns how many."""
    gone = session.scalars(
        delete(CompanyMemory)
        .where(CompanyMemory.company_id == company_id)
        .returning(CompanyMemory.memory_id)
    )
    return len(gone.all())


def memory_view(row: CompanyMemory) -> Json:
    return {
        "memory_id": row.memory_id,
        "company_id": row.company_id,
        "job_id": row.job_id,
        "kind": row.kind,
        "content": row.content,
        "created_at": row.created_at.isoformat(),
    }
