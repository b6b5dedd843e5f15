"""Deletes blobs that no row names: their writer died before the commit.

A blob is stored before the row that names it commits, so at any moment there are blobs which are
about to be named. Only old blobs are deleted, and storing the same bytes again makes a blob young:
a process may name only a blob that it has stored, or read from a row, within that time.
"""

from __future__ import annotations

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from cyrex.datasets import blob_store
from cyrex.logs import one_line
from database.models import Dataset, LoraAdapter, TrainingCheckpoint, TrainingRun
from database.session import operator_session
from modelkit.blobs import BlobStore
from modelkit.errors import BlobCorrupt, BlobMissing, PackageRefused
from modelkit.package import Manifest
from settings import get_settings

log = structlog.get_logger()

# Manifests of adapter packages, whose files are blobs too; the others are single blobs.
PACKAGES = (TrainingRun.package_sha256, LoraAdapter.sha256)
SINGLE = (
    Dataset.sha256,
    Dataset.validation_sha256,
    Dataset.merged_sha256,
    TrainingCheckpoint.sha256,
)

# The files of every package whose manifest this process has read: its name is its hash.
_listed: dict[str, frozenset[str]] = {}


def sweep(age: float | None = None) -> int:
    """Delete unnamed blobs older than `age` seconds, BLOB_GRACE_SECONDS if not given.

    Returns how many; deletes nothing if it cannot be sure. An `age` shorter than it takes from
    storing to commit is for a system at rest.
    """
    blobs = blob_store()
    age = get_settings().blob_grace_seconds + blobs.put_seconds if age is None else age
    try:
        return _sweep(blobs, age)
    except (BlobCorrupt, PackageRefused, OSError) as error:
        log.error("blobs_not_swept", error=one_line(error))
        return 0


def _sweep(blobs: BlobStore, age: float) -> int:
    blobs.tidy(age)
    # The order matters: what is named after this look was stored after it, and is young.
    old = set(blobs.older_than(age))
    if not old:
        return 0
    with operator_session() as session:
        packages = _values(session, PACKAGES)
        named = packages | _values(session, SINGLE)
    for sha256 in packages:
        named |= _files(blobs, sha256)
    deleted = sum(blobs.delete_older(sha256, age) for sha256 in old - named)
    if deleted:
        log.info("blobs_swept", count=deleted)
    return deleted


def _values(session: Session, columns: tuple[object, ...]) -> set[str]:
    found: set[str] = set()
    for column in columns:
        found |= {value for value in session.scalars(select(column).distinct()) if value}  # type: ignore[call-overload]
    return found


def _files(blobs: BlobStore, package: str) -> frozenset[str]:
    """The files of a package that is here; an adapter from outside never was.

    Raises `BlobCorrupt` or `PackageRefused`: then nobody knows which files a row needs.
    """
    if package not in _listed:
        try:
            manifest = Manifest.from_json(blobs.read(package), package)
        except BlobMissing:
            return frozenset()
        _listed[package] = frozenset(entry.sha256 for entry in manifest.files)
    return _listed[package]
