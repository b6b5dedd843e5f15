"""Blobs that no row names go; those that are named, or about to be, stay."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from cyrex.adapters.files import put_package
from cyrex.datasets import blob_store
from cyrex.recovery import blob_sweep
from database.base import new_id
from database.models import Dataset, TrainingCheckpoint, TrainingRun
from database.session import operator_session
from settings import get_settings
from tests.support import rows
from tests.support.blob_places import BlobPlace
from tests.support.packages import write_package

pytestmark = pytest.mark.usefixtures("database_url")


@pytest.fixture(autouse=True)
def place(blob_place: BlobPlace) -> BlobPlace:
    """Every test here is of both kinds of store, and begins with an empty one."""
    return blob_place


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """No manifest was read before."""
    monkeypatch.setattr(blob_sweep, "_listed", {})


def age(place: BlobPlace, *names: str) -> None:
    """Let blobs be older than the grace."""
    for sha256 in names:
        place.age(sha256, get_settings().blob_grace_seconds + place.store.put_seconds + 10)


def test_only_what_no_row_names_is_deleted(tmp_path: Path, place: BlobPlace) -> None:
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
    kept = set(place.store.older_than(-60))
    age(place, *kept)
    assert kept >= {dataset, package, checkpoint}
    assert len(kept) == 6, "the package's three files too"
    orphans = {blob_store().put_bytes(text) for text in (b"one", b"two")}
    age(place, *orphans)
    assert blob_sweep.sweep() == 2
    assert set(blob_store().older_than(-60)) == kept
    assert blob_sweep.sweep() == 0


def test_what_was_just_stored_stays(place: BlobPlace) -> None:
    sha256 = blob_store().put_bytes(b"about to be named")
    assert blob_sweep.sweep() == 0
    age(place, sha256)
    assert blob_store().put_bytes(b"about to be named") == sha256, "stored again: young again"
    assert blob_sweep.sweep() == 0
    assert not blob_store().delete_older(sha256, 60), "between the look and the deletion too"
    age(place, sha256)
    assert blob_sweep.sweep() == 1


def test_nothing_is_deleted_when_a_manifest_cannot_be_read(
    tmp_path: Path, place: BlobPlace
) -> None:
    run_id = rows.run(rows.company())
    package = put_package(blob_store(), write_package(tmp_path / "package", seed=42))
    rows.change(TrainingRun, run_id, package_sha256=package)
    orphan = blob_store().put_bytes(b"nobody's")
    whole = blob_store().read(package)
    place.write(package, b"{}")
    age(place, *place.store.older_than(-60))
    assert blob_sweep.sweep() == 0
    place.write(package, whole)
    age(place, package)
    assert blob_sweep.sweep() == 1
    assert not blob_store().exists(orphan)


def test_a_manifest_is_read_once(tmp_path: Path, place: BlobPlace) -> None:
    run_id = rows.run(rows.company())
    package = put_package(blob_store(), write_package(tmp_path / "package", seed=43))
    rows.change(TrainingRun, run_id, package_sha256=package)
    age(place, *place.store.older_than(-60))
    kept = set(place.store.older_than(-60))
    assert blob_sweep.sweep() == 0
    place.write(package, b"{}")
    age(place, package, blob_store().put_bytes(b"nobody's, too"))
    assert blob_sweep.sweep() == 1
    assert set(place.store.older_than(-60)) == kept


@pytest.mark.parametrize("blob_place", ["s3"], indirect=True)
def test_a_store_that_refuses_us_is_swept_later(
    place: BlobPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = blob_store().put_bytes(b"nobody's still")
    age(place, sha256)
    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setenv("S3_SECRET_ACCESS_KEY", "not-the-secret")
        get_settings.cache_clear()
        assert blob_sweep.sweep() == 0
    (said,) = [entry["error"] for entry in logs if entry["event"] == "blobs_not_swept"]
    assert "refuses the credentials" in said
    assert "not-the-secret" not in said
    get_settings.cache_clear()
    assert blob_sweep.sweep() == 1
    assert not blob_store().exists(sha256)


@pytest.mark.parametrize("blob_place", ["local"], indirect=True)
def test_what_a_dead_process_was_writing_goes_too(place: BlobPlace) -> None:
    left = place.root / ".incoming" / "tmpabc"
    left.write_bytes(b"half")
    blob_sweep.sweep()
    assert left.exists()
    then = time.time() - get_settings().blob_grace_seconds - 10
    os.utime(left, (then, then))
    blob_sweep.sweep()
    assert not left.exists()
