"""The step `train`: Helox runs as a child process and is watched.

A step may run again after its worker died at any point, here or on another machine: Helox goes on
from the last checkpoint in the blob store.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import func
from sqlalchemy.orm import Session

from cyrex.adapters.base_model import require_base
from cyrex.adapters.files import package_of, put_package
from cyrex.adapters.service import check_base, get_adapter
from cyrex.datasets import blob_store, split_of
from cyrex.errors import UserError
from cyrex.host.subprocesses import ChildInterrupted, ChildRefused, Standby, read_json, run_child
from cyrex.host.work_dirs import sweep, work_dir
from cyrex.training import checkpoints
from cyrex.training.checkpoint_uploader import CheckpointUploader
from cyrex.training.service import add_event
from cyrex.work.lease import Advance, Finish, GivenBack, Lease, Outcome
from database.base import Json
from database.models import TrainingRun, Usage
from database.session import company_session
from helox.checkpoint_files import CHECKPOINTS_DIR
from settings import get_settings

# How often a running training's row is written: for people who watch it, not for its lease.
PROGRESS_SECONDS = 1.0


def train(run: TrainingRun, lease: Lease, leaving: Callable[[], bool]) -> Outcome:
    """Run Helox as a child process; store the adapter package it writes.

    Raises `GivenBack` when the worker is leaving: the next attempt goes on from the checkpoint
    that Helox wrote when it was told to stop.
    """
    sweep()
    with work_dir(f"{run.request_id}-{run.attempt}") as folder:
        receipt = _run_helox(run, lease, leaving, folder)
        if receipt is None:
            return Finish("cancelled")
        package_sha256 = put_package(blob_store(), folder / "adapter")
    metrics = dict(receipt.get("metrics") or {})

    def also(session: Session, row: TrainingRun) -> None:
        add_event(session, row, "trained", "training has ended; evaluation is next", metrics)
        session.add(
            Usage(
                company_id=row.company_id,
                kind="training",
                reference=f"{row.request_id}:{row.attempt}",
                trained_tokens=int(metrics.get("trained_tokens") or 0),
            )
        )

    trained = {
        "package_sha256": package_sha256,
        "base_sha256": receipt["base_model"]["sha256"],
        "metrics": metrics,
    }
    return Advance(trained, also)


_spare: Standby | None = None


def stand_by() -> None:
    """Start a trainer that loads its libraries and waits: the next run begins seconds earlier.

    Call from the main thread.
    """
    global _spare
    settings = get_settings()
    if settings.training_standby and (_spare is None or not _spare.is_alive):
        _spare = Standby("helox", ["train", "-"], settings.training_threads)


def _take_spare() -> Standby | None:
    global _spare
    spare, _spare = _spare, None
    return spare if spare is not None and spare.is_alive else None


def _run_helox(
    run: TrainingRun, lease: Lease, leaving: Callable[[], bool], folder: Path
) -> Json | None:
    """Train in `folder`; returns the receipt, or None when the run was cancelled."""
    threads = get_settings().training_threads
    spec = _write_spec(run, folder, threads)
    resumed = checkpoints.fetch_newest(run, folder / CHECKPOINTS_DIR)
    watch = _Watch(run, lease, folder, leaving)
    watch.start(resumed)
    try:
        with CheckpointUploader(run, lease, folder / CHECKPOINTS_DIR):
            spare = _take_spare()
            if spare is not None:
                spare.run(str(spec), folder, watch)
            else:
                run_child("helox", ["train", str(spec)], folder, watch, threads)
    except ChildInterrupted:
        if watch.cancelled:
            return None
        raise GivenBack("the worker is leaving") from None
    except ChildRefused as refused:
        report = refused.report
        raise UserError(
            str(report.get("code", "refused")),
            str(report.get("message", "refused")),
            param=report.get("field"),
            details=report.get("lines"),
        ) from None
    watch.report()
    return read_json(folder / "adapter" / "receipt.json")


def _write_spec(run: TrainingRun, work_dir: Path, threads: int) -> Path:
    split = split_of(run.company_id, run.dataset_id)
    data = work_dir / "train.jsonl"
    data.write_bytes(b"\n".join(split.train) + b"\n")
    spec: Json = {
        "base_model": str(require_base(run.base_model).resolve()),
        "data": str(data),
        "work_dir": str(work_dir),
        "output_dir": str(work_dir / "adapter"),
        "use_qlora": run.use_qlora,
        "seed": run.seed,
        "threads": threads,
        # Split by the company's own hold-out, which spans its trainings.
        "config": {**run.config, "holdout_fraction": 0},
        "resume": True,
    }
    if split.holdout:
        spec["validation_file"] = str(work_dir / "validation.jsonl")
        Path(spec["validation_file"]).write_bytes(b"\n".join(split.holdout) + b"\n")
    if run.continue_from is not None:
        spec["continue_from"] = str(_start_of(run))
    path = work_dir / "spec.json"
    path.write_text(json.dumps(spec))
    return path


def _start_of(run: TrainingRun) -> Path:
    """The package of the adapter to start from. Raises `UserError` where it is gone."""
    with company_session(run.company_id) as session:
        adapter = get_adapter(session, str(run.continue_from))
    check_base(adapter)
    return package_of(adapter)


def stop_of(run: TrainingRun, lease: Lease, leaving: Callable[[], bool]) -> Callable[[], bool]:
    """Whether to stop: on a cancel. Raises `GivenBack` when the worker leaves, `Lost` if fenced."""
    last = datetime.min.replace(tzinfo=UTC)

    def stop() -> bool:
        nonlocal last
        if leaving():
            raise GivenBack("the worker is leaving")
        if (datetime.now(UTC) - last).total_seconds() < PROGRESS_SECONDS:
            return False
        last = datetime.now(UTC)
        return bool(lease.renew().cancel_requested)

    return stop


class _Watch:
    """Writes the progress of a running Helox to the row; stops it on a cancel or when the worker
    leaves."""

    def __init__(
        self, run: TrainingRun, lease: Lease, work_dir: Path, leaving: Callable[[], bool]
    ) -> None:
        self._run = run
        self._lease = lease
        self._progress = work_dir / "progress.json"
        self._leaving = leaving
        self._last = datetime.min.replace(tzinfo=UTC)
        self.cancelled = False

    def start(self, resumed: int | None) -> None:
        """Say that training starts, or from which step it goes on."""
        attempt = self._lease.attempt
        said = "training has started" if attempt == 1 else f"attempt {attempt} has started"
        if resumed is not None:
            said = f"attempt {attempt} goes on from step {resumed}"
        with company_session(self._run.company_id) as session:
            row = self._lease.write(
                session,
                started_at=func.coalesce(TrainingRun.started_at, func.now()),
                progress={"phase": "starting", "step": resumed or 0},
            )
            found = {"attempt": attempt, "resumed_step": resumed}
            add_event(session, row, "training", said, found)

    def __call__(self) -> bool:
        """True: stop the child."""
        if self._leaving():
            return True
        if (datetime.now(UTC) - self._last).total_seconds() >= PROGRESS_SECONDS:
            self.report()
        else:
            self.cancelled = self._lease.cancel_requested()
        return self.cancelled

    def report(self) -> None:
        """Write progress and read the cancel flag. Raises `claims.Lost` when fenced."""
        self._last = datetime.now(UTC)
        progress = read_json(self._progress)
        found = {"progress": progress} if progress else {}
        self.cancelled = bool(self._lease.renew(**found).cancel_requested)
