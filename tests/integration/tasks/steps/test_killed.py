"""kill -9 of a worker at every boundary of the steps from a trained package to the champion.

Each time the rest is done by another worker, and at the end there is one adapter, one version in
the registry, one decision, one event, and no blob that no row names.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import Ignore
from sqlalchemy import delete, func, select

from cyrex.adapters.files import put_package
from cyrex.datasets import blob_store
from cyrex.host import work_dirs
from cyrex.recovery import blob_sweep
from cyrex.work.lease import Lease
from database.models import AdapterAlias, Dataset, Decision, LoraAdapter, TrainingRun, Worker
from database.session import operator_session
from database.transitions import ADAPTER, MACHINES, TRAINING
from modelkit.package import Manifest
from modelkit.registry import get_registry
from settings import REPOSITORY, get_settings
from synapse.envelope import Envelope
from synapse.streams import LORA_ADAPTER_READY
from tasks.bridge import effects as bridge
from tasks.steps import adapters as adapter_tasks
from tasks.steps import training as training_tasks
from tasks.upkeep import reconciler
from tests.support import rows
from tests.support.packages import write_package

pytestmark = [pytest.mark.usefixtures("here"), pytest.mark.slow]

CHILD = """
import os, signal, sys
from tasks.broker import dispatch
from tasks.steps import adapters, run as steps, training
from tasks.workers import presence as worker
from modelkit import directory_store, package, store_registry

def die(*_arguments, **_named):
    os.kill(os.getpid(), signal.SIGKILL)

def then_die(module, name):
    real = getattr(module, name)
    def call(*arguments, **named):
        real(*arguments, **named)
        die()
    setattr(module, name, call)

point, task, *arguments = sys.argv[1:]
{
    "claimed": lambda: setattr(steps, "_work", die),
    "worked": lambda: setattr(steps, "_settle", die),
    "committed": lambda: setattr(dispatch, "publish", die),
    "files copied": lambda: then_die(package, "copy"),
    "document written": lambda: then_die(directory_store, "write_atomic"),
    "downloaded": lambda: then_die(store_registry.StoreRegistry, "download_model"),
    "registered": lambda: then_die(directory_store, "sync_folder"),
}[point]()
worker._presence = worker.Presence("doomed", ["bridge"], dict)
worker._presence.start()
module = training if task.startswith("training") else adapters
company, row, step, attempt = arguments
getattr(module, task.partition(".")[2])(company, row, step, int(attempt))
"""

# Packages of bytes that no cache has seen.
_seeds = count(1000)
MOST_STEPS = 12
STEPS = ("register", "announce", "fetch", "evaluate", "decide")
POINTS = [(step, point) for step in STEPS for point in ("claimed", "worked", "committed")]
POINTS += [("register", p) for p in ("files copied", "document written", "registered")]
POINTS += [("fetch", "downloaded")]


def trained(company_id: str, folder: Path) -> str:
    """A run whose package is in the blob store, evaluated, and which stands before `register`."""
    sha256 = put_package(blob_store(), write_package(folder / "package", seed=next(_seeds)))
    evaluation = {"champion_id": None, "sha256": sha256, "examples": 0, "scores": {}}
    return rows.run(
        company_id, status="running", step="register", package_sha256=sha256, evaluation=evaluation
    )


def adapters_of(request_id: str) -> list[LoraAdapter]:
    with operator_session() as session:
        query = select(LoraAdapter).where(LoraAdapter.request_id == request_id)
        return list(session.scalars(query))


def next_task(request_id: str) -> tuple[str, Any] | None:
    """The step that is due, of the run or of its adapter; None: all is done."""
    run = rows.get(TrainingRun, request_id)
    if run.status not in TRAINING.terminal:
        return "training", run
    (adapter,) = adapters_of(request_id)
    if adapter.status == "registered":
        hear(adapter)
        (adapter,) = adapters_of(request_id)
    return ("adapter", adapter) if adapter.status == ADAPTER.running else None


def due_steps(request_id: str) -> Iterator[tuple[str, Any]]:
    """One after the other, as long as there is one."""
    for _ in range(MOST_STEPS):
        due = next_task(request_id)
        if due is None:
            return
        yield due
    raise AssertionError(f"no end after {MOST_STEPS} steps: {rows.columns(due[1])}")


def hear(adapter: LoraAdapter) -> None:
    """What the bridge does with the event; twice, as it may come twice."""
    (envelope,) = rows.announced(adapter.company_id, LORA_ADAPTER_READY)
    for _ in range(2):
        with operator_session() as session:
            bridge.effect(session, LORA_ADAPTER_READY, Envelope.model_validate(envelope))


def do(kind: str, row: Any) -> None:
    """The step that is due, here."""
    if (kind, row.step) == ("adapter", "warm"):
        # Warming writes nothing but that it has been done.
        machine = MACHINES[kind]
        with operator_session() as session:
            lease = Lease(machine, row.company_id, row.adapter_id, "warm", row.attempt, "w")
            lease.claim(session)
            lease.advance(session)
        return
    module: Any = training_tasks if kind == "training" else adapter_tasks
    key = getattr(row, MACHINES[kind].key)
    try:
        getattr(module, row.step)(row.company_id, key, row.step, row.attempt)
    except Ignore:
        return


def die_at(point: str, kind: str, row: Any) -> None:
    """The same in a process that is killed there; then the reconciler finds what it held."""
    key = getattr(row, MACHINES[kind].key)
    arguments = [f"{kind}.{row.step}", row.company_id, key, row.step, str(row.attempt)]
    child = subprocess.run(
        [sys.executable, "-c", CHILD, point, *arguments], cwd=REPOSITORY, env=dict(os.environ)
    )
    assert child.returncode == -signal.SIGKILL
    owner = rows.row_of(MACHINES[kind], key).lease_owner
    assert (owner is None) == (point == "committed")
    with operator_session() as session:
        session.execute(delete(Worker).where(Worker.node == "doomed"))
    reconciler.reconcile()
    assert rows.row_of(MACHINES[kind], key).lease_owner is None


@pytest.mark.parametrize(("step", "point"), POINTS)
def test_killed_there_it_ends_as_ever(step: str, point: str, tmp_path: Path) -> None:
    acme = rows.company()
    request_id = trained(acme, tmp_path)
    deaths = 0
    for kind, row in due_steps(request_id):
        if row.step == step and not deaths:
            deaths += 1
            die_at(point, kind, row)
        else:
            do(kind, row)
    assert deaths == 1
    check(acme, request_id)


def check(acme: str, request_id: str) -> None:
    """Everything is there once."""
    run = rows.get(TrainingRun, request_id)
    (adapter,) = adapters_of(request_id)
    assert (run.status, adapter.status, adapter.version) == ("succeeded", "ready", 1)
    assert adapter.sha256 == run.package_sha256
    registry = get_registry(get_settings())
    assert [(m.version, m.sha256) for m in registry.list_models(acme)] == [(1, adapter.sha256)]
    models = Path(get_settings().model_registry_path) / "models" / acme
    assert {path.name for path in models.iterdir()} <= {"1", ".lock", "aliases"}
    with operator_session() as session:
        alias = session.scalar(select(AdapterAlias).where(AdapterAlias.company_id == acme))
        decisions = session.scalar(
            select(func.count()).select_from(Decision).where(Decision.company_id == acme)
        )
    assert alias is not None
    assert (alias.champion_id, alias.version, decisions) == (adapter.adapter_id, 1, 1)
    assert len(rows.announced(acme, LORA_ADAPTER_READY)) == 1
    assert rows.events(request_id).count("succeeded") == 1
    assert not list(get_settings().work_dir.glob(f"{request_id}*")) or swept(request_id)
    blob_sweep.sweep(0)
    assert set(blob_store().older_than(-60)) == named()


def swept(request_id: str) -> bool:
    return bool(work_dirs.sweep()) and not list(get_settings().work_dir.glob(f"{request_id}*"))


def named() -> set[str]:
    """The blobs that rows of this module's database name."""
    with operator_session() as session:
        datasets = set(session.scalars(select(Dataset.sha256)))
        packages = {p for p in session.scalars(select(TrainingRun.package_sha256)) if p}
    files = {
        entry.sha256
        for package in packages
        for entry in Manifest.from_json(blob_store().read(package)).files
    }
    return datasets | packages | files


def test_the_registry_names_the_champion_too(tmp_path: Path) -> None:
    acme = rows.company()
    request_id = trained(acme, tmp_path)
    for kind, row in due_steps(request_id):
        do(kind, row)
    assert get_registry(get_settings()).get_alias(acme, "champion") == 1


def test_a_registry_that_is_away_delays_no_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: list[Any]
) -> None:
    acme = rows.company()
    request_id = trained(acme, tmp_path)
    for kind, row in due_steps(request_id):
        if row.step == "decide":
            models = Path(get_settings().model_registry_path) / "models"
            models.rename(models.with_name("aside"))
            models.write_text("in its place")
            try:
                do(kind, row)
            finally:
                models.unlink()
                models.with_name("aside").rename(models)
        else:
            do(kind, row)
    (adapter,) = adapters_of(request_id)
    assert adapter.status == "ready"
    assert any(entry["event"] == "after_commit_failed" for entry in logs)
    assert get_registry(get_settings()).get_alias(acme, "champion") is None
