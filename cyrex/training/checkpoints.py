"""Checkpoints of a training, kept in the blob store so that any worker can resume the run.

A checkpoint is one blob, a tar of its files, and a row that names it. The row is written when the
blob is durable, under the lease of the attempt that made it: a worker that has lost its lease adds
and removes none. A run's newest few are kept, and for some days after its end.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from cyrex.datasets import blob_store
from cyrex.training.service import get_training
from cyrex.work.lease import Lease
from database.base import Json, new_id
from database.models import TrainingCheckpoint, TrainingRun
from database.session import company_session, operator_session
from helox.checkpoint_files import STATE_FILE, folder_of
from modelkit.blobs import BlobStore
from modelkit.errors import BlobCorrupt, BlobMissing
from settings import get_settings

log = structlog.get_logger()

CHUNK_BYTES = 1 << 20
# The name of a file in a checkpoint: a name, and no path.
MEMBER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}")
# Another run with the same data and seed makes the same bytes, and may name them any moment.
PRUNE_SECONDS = 30.0


class CheckpointGone(Exception):
    """The trainer removed the folder while it was being opened: a newer one is there."""


class CheckpointRefused(Exception):
    """A blob is not what `put_checkpoint` makes."""


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint in the blob store, and how far its run was."""

    sha256: str
    size_bytes: int
    metrics: Json


def put_checkpoint(blobs: BlobStore, folder: Path) -> StoredCheckpoint:
    """Store a checkpoint's folder as one blob. Raises `CheckpointGone`.

    Every file is open before the first is read, so one that is removed meanwhile is read whole.
    """
    with ExitStack() as opened:
        try:
            state = json.loads((folder / STATE_FILE).read_bytes())
            files = {
                name: opened.enter_context((folder / name).open("rb"))
                for name in (*sorted(state["files"]), STATE_FILE)
            }
        except FileNotFoundError:
            raise CheckpointGone(folder.name) from None
        size = sum(os.fstat(stream.fileno()).st_size for stream in files.values())
        sha256 = blobs.put_stream(_tar(files))
    counters = state["counters"]
    metrics = {name: counters[name] for name in ("step", "tokens", "trained_tokens", "epochs")}
    return StoredCheckpoint(sha256, size, metrics)


def _tar(files: dict[str, IO[bytes]]) -> Iterator[bytes]:
    """The same files make the same bytes: nothing of this machine's times, owners or modes."""
    for name, stream in files.items():
        info = tarfile.TarInfo(name)
        info.size = os.fstat(stream.fileno()).st_size
        yield info.tobuf(tarfile.GNU_FORMAT)
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk
        yield bytes(-info.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def get_checkpoint(blobs: BlobStore, sha256: str, folder: Path) -> None:
    """Make `folder` from a stored checkpoint, whole or not at all.

    Raises `BlobMissing`, `BlobCorrupt` or `CheckpointRefused`.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    with blobs.open(sha256) as stream:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            _extract(stream, partial)
        except (CheckpointRefused, tarfile.TarError) as error:
            shutil.rmtree(partial)
            raise CheckpointRefused(f"{sha256}: {error}") from None
    partial.rename(folder)


def _extract(stream: IO[bytes], folder: Path) -> None:
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content is None or not MEMBER.fullmatch(member.name):
                raise CheckpointRefused(f"{member.name!r} is no file of a checkpoint")
            with (folder / member.name).open("xb") as target:
                shutil.copyfileobj(content, target, CHUNK_BYTES)


def record(run: TrainingRun, lease: Lease, step: int, stored: StoredCheckpoint) -> None:
    """Write the row of a stored checkpoint, and drop what the run keeps no longer.

    Raises `claims.Lost`, and then has changed nothing.
    """
    values: dict[str, Any] = {
        "attempt": lease.attempt,
        "sha256": stored.sha256,
        "size_bytes": stored.size_bytes,
        "metrics": stored.metrics,
        "created_at": func.now(),
    }
    with company_session(run.company_id) as session:
        lease.write(session)
        session.execute(
            insert(TrainingCheckpoint)
            .values(
                checkpoint_id=new_id(),
                company_id=run.company_id,
                request_id=run.request_id,
                step_number=step,
                **values,
            )
            .on_conflict_do_update(index_elements=["request_id", "step_number"], set_=values)
        )
        dropped = session.scalars(
            delete(TrainingCheckpoint)
            .where(
                TrainingCheckpoint.request_id == run.request_id,
                TrainingCheckpoint.checkpoint_id.not_in(
                    _newest(run.request_id)
                    .with_only_columns(TrainingCheckpoint.checkpoint_id)
                    .limit(get_settings().training_checkpoints)
                ),
            )
            .returning(TrainingCheckpoint.sha256)
        ).all()
    delete_blobs(dropped)


def _newest(request_id: str) -> Any:
    return (
        select(TrainingCheckpoint)
        .where(TrainingCheckpoint.request_id == request_id)
        # Not by step alone: a trainer that cannot use a checkpoint begins again at step 0.
        .order_by(TrainingCheckpoint.created_at.desc(), TrainingCheckpoint.step_number.desc())
    )


def fetch_newest(run: TrainingRun, directory: Path) -> int | None:
    """Fetch the run's newest whole checkpoint into `directory`; returns its step."""
    with company_session(run.company_id) as session:
        rows: Sequence[TrainingCheckpoint] = session.scalars(_newest(run.request_id)).all()
    for row in rows:
        try:
            get_checkpoint(blob_store(), row.sha256, folder_of(directory, row.step_number))
        except (BlobMissing, BlobCorrupt, CheckpointRefused) as error:
            log.warning("checkpoint_unusable", step=row.step_number, error=str(error))
            continue
        return row.step_number
    return None


def list_checkpoints(session: Session, request_id: str) -> list[TrainingCheckpoint]:
    """A run's checkpoints, newest first. Raises `NotFound` for an unknown run."""
    get_training(session, request_id)
    return list(session.scalars(_newest(request_id)))


def checkpoint_view(row: TrainingCheckpoint) -> dict[str, Any]:
    """A checkpoint as JSON."""
    return {
        "checkpoint_id": row.checkpoint_id,
        "request_id": row.request_id,
        "step": row.step_number,
        "attempt": row.attempt,
        "sha256": row.sha256,
        "size_bytes": row.size_bytes,
        "metrics": row.metrics,
        "created_at": row.created_at.isoformat(),
    }


def forget_old() -> int:
    """Delete the checkpoints of runs that ended long ago; returns how many."""
    ended = datetime.now(UTC) - timedelta(days=get_settings().checkpoint_days)
    old = select(TrainingRun.request_id).where(TrainingRun.finished_at < ended)
    with operator_session() as session:
        dropped = session.scalars(
            delete(TrainingCheckpoint)
            .where(TrainingCheckpoint.request_id.in_(old))
            .returning(TrainingCheckpoint.sha256)
        ).all()
    delete_blobs(dropped)
    return len(dropped)


def delete_blobs(names: Iterable[str]) -> None:
    """Delete the blobs of dropped rows at once, but for those that another row names, or may name
    any moment. What is left over here is swept later."""
    wanted = set(names)
    if not wanted:
        return
    with operator_session() as session:
        wanted -= set(
            session.scalars(
                select(TrainingCheckpoint.sha256).where(TrainingCheckpoint.sha256.in_(wanted))
            )
        )
    blobs = blob_store()
    for sha256 in wanted:
        try:
            blobs.delete_older(sha256, PRUNE_SECONDS + blobs.put_seconds)
        except OSError as error:
            log.warning("checkpoint_not_deleted", sha256=sha256, error=str(error))
