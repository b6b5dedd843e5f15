"""Datasets: the lines a company trains on, in the blob store; one row names each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from database.models import Dataset
from database.session import company_session
from helox.check import Report, read_records
from helox.holdout import choose, key_of
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


def jsonl(line: Any) -> bytes:
    """One line of JSON in UTF-8. Raises `TypeError` or `ValueError` for what is no JSON."""
    return (json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n").encode()


def store(lines: Sequence[bytes]) -> StoredLines:
    """Store lines of JSON, each with its end. Raises `OSError`.

    Durable before the row that names them commits, and before its transaction begins: a store that
    hangs holds no connection to the database.
    """
    body = b"".join(lines)
    return StoredLines(blob_store().put_bytes(body), len(body), len(lines))


def dataset_lines(company_id: str, dataset_id: str) -> list[bytes]:
    """The lines of a dataset, verified against its SHA-256.

    Read in no transaction: Postgres ends one that is idle for as long as a slow store may take.
    """
    with company_session(company_id) as session:
        sha256 = session.get_one(Dataset, dataset_id).sha256
    return blob_store().read(sha256).splitlines()


def split_dataset(lines: list[bytes], fraction: float) -> tuple[list[bytes], list[bytes]]:
    """Lines to train on, and lines held out by the hash of their input."""
    records = list(read_records(lines, Report()))
    held_out = choose([key_of(record.conversation) for record in records], fraction)
    train = [lines[r.line - 1] for r, out in zip(records, held_out, strict=True) if not out]
    holdout = [lines[r.line - 1] for r, out in zip(records, held_out, strict=True) if out]
    return train, holdout
