"""Blobs that no row names go; those that are named, or about to be, stay."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cyrex import blob_sweep
from cyrex.packages import put_package
from cyrex.training import blob_store
from database.base import new_id
from database.models import Dataset, TrainingCheckpoint, TrainingRun
from database.session import operator_session
from settings import get_settings
from tests import rows
from tests.packages import write_package

pytestmark = pytest.mark.usefixtures("database_url")


def age(sha256: str, seconds: float | None = None) -> None:
    """Let a blob be older than the grace, or so old."""
    seconds = get_settings().blob_grace_seconds + 10 if seconds is None else seconds
    then = time.time() - seconds
    os.utime(blob_store().path(sha256), (then, then))


def age_all() -> set[str]:
    found = set(blob_store().older_than(-60))
    for sha256 in found:
        age(sha256)
    return found


def test_only_what_no_row_names_is_deleted(tmp_path: Path) -> None:
    acme = rows.company()
    run_id = rows.run(acme)
    package = put_package(blob_store(), write_package(tmp_path / "package", seed=41))
    rows.change(TrainingRun, run_id, package_sha256=package)
    checkpoint = blob_store().put_bytes(b"a checkpoint")
    with operator_session() as session:
        session.add(
            TrainingCheckpoint(
                checkpoint_id=new_id(),
                company_id=acme,
                request_id=run_id,
                attempt=1,
                step_number=5,
                sha256=checkpoint,
            )
        )
    dataset = rows.get(Dataset, rows.get(TrainingRun, run_id).dataset_id).sha256
    # As if a minute later: a file's clock may be a little ahead.
    blob_sweep.sweep(-60)
    kept = age_all()
    assert kept >= {dataset, package, checkpoint}
    assert len(kept) == 6, "the package's three files too"
    orphans = {blob_store().put_bytes(text) for text in (b"one", b"two")}
    for sha256 in orphans:
        age(sha256)
    assert blob_sweep.sweep() == 2
    assert set(blob_store().older_than(-60)) == kept
    assert blob_sweep.sweep() == 0


def test_what_was_just_stored_stays(tmp_path: Path) -> None:
    sha256 = blob_store().put_bytes(b"about to be named")
    assert blob_sweep.sweep() == 0
    age(sha256)
    assert blob_store().put_bytes(b"about to be named") == sha256, "stored again: young again"
    assert blob_sweep.sweep() == 0
    assert not blob_store().delete_older(sha256, 60), "between the look and the deletion too"
    age(sha256)
    assert blob_sweep.sweep() == 1


def test_nothing_is_deleted_when_a_manifest_cannot_be_read(tmp_path: Path) -> None:
    run_id = rows.run(rows.company())
    package = put_package(blob_store(), write_package(tmp_path / "package", seed=42))
    rows.change(TrainingRun, run_id, package_sha256=package)
    orphan = blob_store().put_bytes(b"nobody's")
    age_all()
    path = blob_store().path(package)
    whole = path.read_bytes()
    path.write_bytes(b"{}")
    age(package)
    assert blob_sweep.sweep() == 0
    path.write_bytes(whole)
    assert blob_sweep.sweep() == 1
    assert not blob_store().exists(orphan)


def test_what_a_dead_process_was_writing_goes_too() -> None:
    left = get_settings().blob_dir / ".incoming" / "tmpabc"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_bytes(b"half")
    blob_sweep.sweep()
    assert left.exists()
    then = time.time() - get_settings().blob_grace_seconds - 10
    os.utime(left, (then, then))
    blob_sweep.sweep()
    assert not left.exists()
