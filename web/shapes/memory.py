"""Requests and answers about memory."""

from __future__ import annotations

from pydantic import Field

from web.shapes.common import AnswerBody, CompanyPage, Parameters, RowId, Text

MAX_QUERY = 1000


class MemoryPath(Parameters):
    memory_id: RowId


class MemoryQuery(CompanyPage):
    q: Text | None = Field(
        None,
        min_length=1,
        max_length=MAX_QUERY,
        description='Words to find; "a phrase", `or` and `-not` are understood.',
    )


class MemoryView(AnswerBody):
    memory_id: str
    company_id: str
    job_id: str | None
    kind: str
    content: str
    created_at: str


class Memories(AnswerBody):
    memory: list[MemoryView]
    next_after: str | None = Field(description="Send as `after` for the next page; null: the end.")


class Forgotten(AnswerBody):
    deleted: int
