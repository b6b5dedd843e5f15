"""Two machines that share S3, Postgres and Redis, and no disk: one goes on where the other died."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from cyrex.datasets import blob_store
from database.models import LoraAdapter, TrainingCheckpoint, TrainingEvent, TrainingRun
from database.session import operator_session
from database.transitions import TRAINING
from modelkit import package
from modelkit.registry import get_registry
from modelkit.s3_client import Bucket
from settings import get_settings
from tasks.broker import dispatch
from tests.support import rows
from tests.support.blob_places import point_at
from tests.support.celery_workers import CeleryWorker, celery_workers, reconciling
from tests.support.environment import FOLDERS, forget_settings
from tests.support.s3_server import S3Server
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LINES = [{"input": f"Where is parcel {n}?", "output": f"shelf {n % 7}"} for n in range(80)]
CONFIG = {
    "num_epochs": 6,
    "batch_size": 4,
    "lora_dropout": 0.1,
    "checkpoint_every_steps": 20,
    "holdout_fraction": 0.0,
}
WAIT_SECONDS = 240.0

Start = Callable[[str], CeleryWorker]


@pytest.fixture
def bucket(
    database_url: str, redis_url: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bucket]:
    """Blobs and adapters are in S3, for this process and all that it starts."""
    made = s3_server.bucket("nothing-shared")
    point_at(monkeypatch, made)
    monkeypatch.setenv("MODEL_REGISTRY_TYPE", "s3")
    forget_settings()
    yield made
    monkeypatch.undo()
    forget_settings()


@pytest.fixture
def start(bucket: Bucket, here: object, tmp_path: Path) -> Iterator[Start]:
    with celery_workers(tmp_path) as starter, reconciling():

        def ready(name: str) -> CeleryWorker:
            disk = {folder: str(tmp_path / name / folder.lower()) for folder in FOLDERS}
            environment = {**os.environ, **disk, "TRAINING_STANDBY": "false"}
            worker = starter(name, "training", "bridge", environment=environment)
            worker.wait_ready()
            return worker

        yield ready


def request() -> str:
    """A training of a new company that stands before its step `train`, published."""
    run_id = rows.accepted(rows.company(), LINES, status="admitted", config=CONFIG, use_qlora=False)
    dispatch.publish(TRAINING, [get(run_id)])
    return run_id


def get(run_id: str) -> TrainingRun:
    found: TrainingRun = rows.get(TrainingRun, run_id)
    return found


def checkpoints(run_id: str) -> int:
    of_run = select(func.count()).where(TrainingCheckpoint.request_id == run_id)
    with operator_session() as session:
        return session.scalar(of_run) or 0


def resumed_steps(run_id: str) -> list[int | None]:
    """From which step each attempt at training went on."""
    with operator_session() as session:
        query = select(TrainingEvent).where(TrainingEvent.request_id == run_id)
        events = session.scalars(query.order_by(TrainingEvent.id)).all()
        return [e.data["resumed_step"] for e in events if e.type == "training"]


def package_of(run_id: str) -> str:
    """The SHA-256 of the trained package, receipt included, once there is one."""
    return str(eventually(lambda: get(run_id).package_sha256, WAIT_SECONDS, "the package"))


def test_another_machine_goes_on(start: Start, tmp_path: Path) -> None:
    first = start("first")
    run_id = request()
    eventually(lambda: checkpoints(run_id), WAIT_SECONDS, "a checkpoint")
    first.kill()
    shutil.rmtree(tmp_path / "first")
    second = start("second")
    trained = package_of(run_id)
    begun = resumed_steps(run_id)
    assert len(begun) == 2
    assert begun[1] is not None
    assert begun[1] >= 20
    assert trained == package_of(request()), "as if nothing had happened"

    eventually(lambda: get(run_id).status in TRAINING.terminal, WAIT_SECONDS, "the end")
    run = get(run_id)
    assert run.status == "succeeded", run.error
    adapter = rows.get(LoraAdapter, str(run.adapter_id))
    assert adapter.registry_path.startswith("s3://nothing-shared/models/")
    registry = get_registry(get_settings())
    copy = registry.download_model(run.company_id, adapter.version, tmp_path / "copy")
    assert package.build(copy).sha256 == trained
    assert blob_store().exists(trained)
    for folder in ("blob_dir", "model_registry_path"):
        assert not (tmp_path / second.name / folder).exists(), "all of it is in S3"
    assert not list(second.work_dir.glob(f"{run_id}*")), "and nothing is left on the way"
