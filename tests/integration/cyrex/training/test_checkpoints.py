"""Checkpoints on their way: rows under a lease, the newest few, and blobs that are good."""

from __future__ import annotations

import json
import os
import tarfile
import time
from io import BytesIO
from pathlib import Path

import pytest

from cyrex.datasets import blob_store
from cyrex.training import checkpoints
from cyrex.training.checkpoint_uploader import CheckpointUploader
from cyrex.training.checkpoints import (
    CheckpointGone,
    CheckpointRefused,
    get_checkpoint,
    put_checkpoint,
)
from cyrex.work.lease import Lease
from database import claims
from database.models import TrainingCheckpoint, TrainingRun
from database.session import company_session, operator_session
from database.transitions import TRAINING
from helox.checkpoint_files import folder_of
from tests.support import rows
from tests.support.blob_places import BlobPlace
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("database_url")


@pytest.fixture(autouse=True)
def place(blob_place: BlobPlace) -> BlobPlace:
    """Every test here is of both kinds of store."""
    return blob_place


def age(place: BlobPlace, sha256: str) -> None:
    """Let a blob be so old that nobody can be about to name it."""
    place.age(sha256, checkpoints.PRUNE_SECONDS + place.store.put_seconds + 1)


def write(directory: Path, step: int, text: str = "weights") -> Path:
    """A checkpoint as the trainer publishes it: whole, at once."""
    partial = directory / f"step-{step}.partial"
    partial.mkdir(parents=True)
    files = {"adapter_model.safetensors": text * step, "optimizer.safetensors": "moments"}
    for name, content in files.items():
        (partial / name).write_text(content)
    counters = {"step": step, "tokens": 1, "trained_tokens": 1, "epochs": []}
    state = {"format": 1, "fingerprint": text, "counters": counters, "files": files}
    (partial / "state.json").write_text(json.dumps(state))
    partial.rename(folder_of(directory, step))
    return folder_of(directory, step)


def claimed(owner: str = "worker") -> tuple[TrainingRun, Lease]:
    acme = rows.company()
    run_id = rows.run(acme, status="admitted", step="train")
    return claim(acme, run_id, owner)


def claim(company_id: str, run_id: str, owner: str) -> tuple[TrainingRun, Lease]:
    attempt = rows.get(TrainingRun, run_id).attempt
    lease = Lease(TRAINING, company_id, run_id, "train", attempt, owner)
    with company_session(company_id) as session:
        run = lease.claim(session)
    assert run is not None
    return run, lease


def lose(run: TrainingRun, lease: Lease) -> None:
    with company_session(run.company_id) as session:
        assert lease.release(session, run, "worker lost") is not None


def stored(run: TrainingRun) -> list[TrainingCheckpoint]:
    with operator_session() as session:
        return checkpoints.list_checkpoints(session, run.request_id)


def put(run: TrainingRun, lease: Lease, folder: Path, step: int) -> str:
    found = put_checkpoint(blob_store(), folder)
    checkpoints.record(run, lease, step, found)
    return found.sha256


def test_a_folder_comes_back_as_it_was_and_the_same_files_make_the_same_blob(
    tmp_path: Path,
) -> None:
    folder = write(tmp_path / "a", 3)
    found = put_checkpoint(blob_store(), folder)
    for path in folder.iterdir():
        os.utime(path, (0, 0))
        path.chmod(0o600)
    assert put_checkpoint(blob_store(), folder).sha256 == found.sha256
    assert found.metrics["step"] == 3
    target = tmp_path / "b" / "step-3"
    get_checkpoint(blob_store(), found.sha256, target)
    assert {p.name: p.read_bytes() for p in target.iterdir()} == {
        p.name: p.read_bytes() for p in folder.iterdir()
    }
    assert found.size_bytes == sum(path.stat().st_size for path in folder.iterdir())


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    def blob(name: str, kind: bytes = tarfile.REGTYPE) -> str:
        body = BytesIO()
        with tarfile.open(fileobj=body, mode="w") as archive:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        return blob_store().put_bytes(body.getvalue())

    bad = [blob("../escaped"), blob("/etc/x"), blob("a/b"), blob("link", tarfile.SYMTYPE)]
    bad.append(blob_store().put_bytes(b"no tar at all" * 100))
    for sha256 in bad:
        with pytest.raises(CheckpointRefused):
            get_checkpoint(blob_store(), sha256, tmp_path / "step-1")
    assert not (tmp_path / "step-1").exists()
    assert not (tmp_path / "escaped").exists()


def test_a_folder_that_the_trainer_removes_is_given_up(tmp_path: Path) -> None:
    folder = write(tmp_path, 1)
    (folder / "optimizer.safetensors").unlink()
    with pytest.raises(CheckpointGone):
        put_checkpoint(blob_store(), folder)


def test_the_newest_few_are_kept(tmp_path: Path, place: BlobPlace) -> None:
    run, lease = claimed()
    blobs = [put(run, lease, write(tmp_path, step, "few"), step) for step in (1, 2, 3)]
    age(place, blobs[0])
    for step in (4, 5):
        put(run, lease, write(tmp_path, step), step)
    assert [row.step_number for row in stored(run)] == [5, 4, 3]
    assert not blob_store().exists(blobs[0]), "old: deleted with its row"
    assert blob_store().exists(blobs[1]), "young: somebody may be about to name it; swept later"


def test_a_blob_that_another_run_names_stays(tmp_path: Path, place: BlobPlace) -> None:
    (mine, lease), (other, others) = claimed(), claimed()
    folder = write(tmp_path / "same", 1)
    sha256 = put(mine, lease, folder, 1)
    assert put(other, others, folder, 1) == sha256
    age(place, sha256)
    for step in (2, 3, 4):
        put(mine, lease, write(tmp_path / "mine", step), step)
    assert blob_store().exists(sha256)


def test_a_stale_owner_records_and_drops_nothing(tmp_path: Path) -> None:
    run, lease = claimed("first")
    for step in (1, 2, 3):
        put(run, lease, write(tmp_path, step), step)
    before = [rows.columns(row) for row in stored(run)]
    lose(run, lease)
    with pytest.raises(claims.Lost):
        put(run, lease, write(tmp_path, 4), 4)
    assert [rows.columns(row) for row in stored(run)] == before


def test_the_newest_that_is_whole_is_brought(tmp_path: Path, place: BlobPlace) -> None:
    run, lease = claimed()
    blobs = [put(run, lease, write(tmp_path, step, "whole"), step) for step in (1, 2, 3)]
    place.write(blobs[2], blob_store().read(blobs[2])[:-1] + b"x")
    blob_store().delete(blobs[1])
    assert checkpoints.fetch_newest(run, tmp_path / "brought") == 1
    assert [p.name for p in (tmp_path / "brought").iterdir()] == ["step-1"]
    blob_store().delete(blobs[2])
    blob_store().delete(blobs[0])
    assert checkpoints.fetch_newest(run, tmp_path / "nothing") is None


def test_a_trainer_that_begins_again_is_followed(tmp_path: Path) -> None:
    """What was brought is of no use to it, e.g. with another number of threads."""
    run, lease = claimed()
    for step in (10, 20, 30):
        put(run, lease, write(tmp_path, step), step)
    directory = tmp_path / "now"
    assert checkpoints.fetch_newest(run, directory) == 30
    with CheckpointUploader(run, lease, directory):
        time.sleep(0.6)
        assert [row.step_number for row in stored(run)] == [30, 20, 10], "nothing is carried twice"
        folder_of(directory, 30).rename(tmp_path / "aside")
        write(directory, 5, "other")
        eventually(lambda: [row.step_number for row in stored(run)] == [5, 30, 20])
    assert checkpoints.fetch_newest(run, tmp_path / "again") == 5


def test_what_is_left_when_it_ends_badly_is_carried(tmp_path: Path) -> None:
    run, lease = claimed()
    with pytest.raises(RuntimeError), CheckpointUploader(run, lease, tmp_path):
        write(tmp_path, 7)
        raise RuntimeError("the trainer was killed")
    assert [row.step_number for row in stored(run)] == [7]


def test_old_ones_go_with_the_end_of_retention(tmp_path: Path, place: BlobPlace) -> None:
    run, lease = claimed()
    sha256 = put(run, lease, write(tmp_path, 1, "nobody else's"), 1)
    age(place, sha256)
    checkpoints.forget_old()
    rows.change(TrainingRun, run.request_id, status="cancelled", finished_at=rows.ago(86_400))
    checkpoints.forget_old()
    assert len(stored(run)) == 1
    rows.change(TrainingRun, run.request_id, finished_at=rows.ago(30 * 86_400))
    assert checkpoints.forget_old() == 1
    assert stored(run) == []
    assert not blob_store().exists(sha256)


def test_no_company_sees_anothers(tmp_path: Path) -> None:
    run, lease = claimed()
    put(run, lease, write(tmp_path, 1), 1)
    other = rows.company()
    with company_session(other) as session:
        assert session.query(TrainingCheckpoint).all() == []
