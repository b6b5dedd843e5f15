"""Datasets: the lines a company trains on, in the blob store; one row names each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import aliased

from database.base import Json
from database.models import Dataset, Example
from database.session import company_session
from modelkit.blobs import BlobStore, get_blob_store
from settings import get_settings


def blob_store() -> BlobStore:
    """Where datasets, checkpoints and packages are, on whichever machine this runs."""
    return get_blob_store(get_settings())


@dataclass(frozen=True)
class StoredLines:
    """A dataset's bytes in the blob store; nobody's until a row names them."""

    sha256: str
    size_bytes: int
    examples: int
    validation_sha256: str | None = None
    replaces: bool = False
    report: Json | None = None


def jsonl(line: Any) -> bytes:
    """One line of JSON in UTF-8. Raises `TypeError` or `ValueError` for what is no JSON."""
    return (json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n").encode()


def store(
    lines: Sequence[bytes],
    counts: Json | None = None,
    validation: Sequence[bytes] = (),
    replaces: bool = False,
) -> StoredLines:
    """Store lines of JSON, each with its end. Raises `OSError`.

    counts: of the rows, by `Report.counts`. validation: the company's own lines to evaluate on.
    Durable before the row that names them commits, and before its transaction begins: a store that
    hangs holds no connection to the database.
    """
    body = b"".join(lines)
    own = blob_store().put_bytes(b"".join(validation)) if validation else None
    report = None if counts is None else {"counts": counts}
    stored = blob_store().put_bytes(body)
    return StoredLines(stored, len(body), len(lines), own, replaces, report)


def lines_of(sha256: str) -> list[bytes]:
    """The verified lines of a blob.

    Read in no transaction: Postgres ends one that is idle for as long as a slow store may take.
    """
    return blob_store().read(sha256).splitlines()


def merged_lines(company_id: str, dataset_id: str) -> list[bytes]:
    """The lines that a run on the dataset reads: its own, and earlier ones that it adds to."""
    with company_session(company_id) as session:
        dataset = session.get_one(Dataset, dataset_id)
    return lines_of(dataset.merged_sha256 or dataset.sha256)


@dataclass(frozen=True)
class Split:
    """A dataset's merged lines by side.

    old: for each held-out line, whether an earlier dataset of the company holds its question too.
    """

    train: list[bytes]
    holdout: list[bytes]
    old: list[bool]


def split_of(company_id: str, dataset_id: str) -> Split:
    """The sides on which `accept` put a dataset's lines; nothing before it has run."""
    earlier = aliased(Example)
    was_known = (
        select(earlier.line)
        .where(
            earlier.company_id == company_id,
            earlier.input_sha256 == Example.input_sha256,
            earlier.dataset_id < dataset_id,
        )
        .exists()
    )
    query = (
        select(Example.line, Example.split, was_known)
        .where(Example.company_id == company_id, Example.dataset_id == dataset_id)
        .order_by(Example.line)
    )
    with company_session(company_id) as session:
        placed = session.execute(query).all()
    lines = merged_lines(company_id, dataset_id) if placed else []
    return Split(
        train=[lines[line - 1] for line, side, _ in placed if side == "train"],
        holdout=[lines[line - 1] for line, side, _ in placed if side == "holdout"],
        old=[known for _, side, known in placed if side == "holdout"],
    )
