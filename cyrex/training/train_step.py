"""The step `train`: Helox runs as a child process and is watched.

A step may run again after its worker died at any point, here or on another machine: Helox goes on
from the last checkpoint in the blob store.
"""

from __future__ import annotations

import json
from functools import partial
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
from cyrex.work.lease import Advance, Lease, Outcome
from database.base import Json
from database.models import TrainingRun, Usage
from database.session import company_session
from helox.checkpoint_files import CHECKPOINTS_DIR
from settings import get_settings


def train(run: TrainingRun, lease: Lease) -> Outcome:
    """Run Helox as a child process; store the adapter package it writes.

    Raises `GivenBack` when the worker is leaving: the next attempt goes on from the checkpoint
    that Helox wrote when it was told to stop.
    """
    sweep()
    with work_dir(f"{run.request_id}-{run.attempt}") as folder:
        receipt = _run_helox(run, lease, folder)
        if receipt is None:
            return lease.stopped()
        package_sha256 = put_package(blob_store(), folder / "adapter")
    metrics = dict(receipt.get("metrics") or {})
    packing = str(receipt["packing"])  # "on", or why it is off

    def in_transaction(session: Session, row: TrainingRun) -> None:
        if packing != "on":
            add_event(session, row, "packing_off", f"examples share no rows: {packing}")
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
    return Advance(trained, in_transaction)


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


def _run_helox(run: TrainingRun, lease: Lease, folder: Path) -> Json | None:
    """Train in `folder`; returns the receipt, or None when the child was stopped."""
    threads = get_settings().training_threads
    spec = _write_spec(run, folder, threads)
    resumed = checkpoints.fetch_newest(run, folder / CHECKPOINTS_DIR)
    _say_started(run, lease, resumed)
    news = partial(_progress, folder)
    watch = partial(lease.should_stop, news)
    try:
        with CheckpointUploader(run, lease, folder / CHECKPOINTS_DIR):
            spare = _take_spare()
            if spare is not None:
                spare.run(str(spec), folder, watch)
            else:
                run_child("helox", ["train", str(spec)], folder, watch, threads)
    except ChildInterrupted:
        return None
    except ChildRefused as refused:
        report = refused.report
        raise UserError(
            str(report.get("code", "refused")),
            str(report.get("message", "refused")),
            param=report.get("field"),
            details=report.get("lines"),
        ) from None
    lease.renew(**news())
    return read_json(folder / "adapter" / "receipt.json")


def _write_spec(run: TrainingRun, work_dir: Path, threads: int) -> Path:
    split = split_of(run.company_id, run.dataset_id)
    data = work_dir / "train.jsonl"
    data.write_bytes(b"\n".join(split.train) + b"\n")
    spec: Json = {
        "base_model": str(require_base(run.base_model).resolve()),
        "enable_thinking": get_settings().base_model_thinking,
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


def _say_started(run: TrainingRun, lease: Lease, resumed: int | None) -> None:
    """Say that training starts, or from which step it goes on."""
    attempt = lease.attempt
    said = "training has started" if attempt == 1 else f"attempt {attempt} has started"
    if resumed is not None:
        said = f"attempt {attempt} goes on from step {resumed}"
    with company_session(run.company_id) as session:
        row = lease.write(
            session,
            started_at=func.coalesce(TrainingRun.started_at, func.now()),
            progress={"phase": "starting", "step": resumed or 0},
        )
        found = {"attempt": attempt, "resumed_step": resumed}
        add_event(session, row, "training", said, found)


def _progress(folder: Path) -> Json:
    """What Helox says of itself, for the run's row."""
    progress = read_json(folder / "progress.json")
    return {"progress": progress} if progress else {}
