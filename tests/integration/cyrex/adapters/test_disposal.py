"""After a person's decision: the registry's alias, and the bytes of what was deleted."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import func, select

from cyrex.adapters import disposal, lifecycle
from cyrex.adapters.files import adapter_cache, package_of
from cyrex.adapters.promotion import CHAMPION
from database.base import new_id
from database.models import Decision, LoraAdapter, TrainingCheckpoint, TrainingRun
from database.session import WEB, company_session
from modelkit.errors import ModelNotFound
from modelkit.registry import get_registry
from settings import get_settings
from tests.support import rows
from tests.support.packages import write_package

pytestmark = pytest.mark.usefixtures("database_url")


@pytest.fixture
def acme() -> str:
    # The registry outlives the database of each test module.
    return rows.company("disposal")


def registered(company_id: str, folder: Path, seed: int = 0, **values: object) -> LoraAdapter:
    """A ready adapter with a package, whose bytes depend on `seed`."""
    adapter_id = rows.adapter(company_id)
    version = rows.get(LoraAdapter, adapter_id).version
    model = get_registry(get_settings()).register_model(
        company_id, version, write_package(folder / str(version), seed), {"adapter_id": adapter_id}
    )
    rows.change(
        LoraAdapter,
        adapter_id,
        status="ready",
        sha256=model.sha256,
        registry_path=model.path,
        **values,
    )
    found: LoraAdapter = rows.get(LoraAdapter, adapter_id)
    return found


def act(company_id: str, name: str, *arguments: object) -> None:
    with company_session(company_id, role=WEB) as session:
        getattr(lifecycle, name)(session, *arguments, "key")


def test_the_registrys_alias_follows(acme: str, tmp_path: Path) -> None:
    registry = get_registry(get_settings())
    adapter = registered(acme, tmp_path)
    act(acme, "promote", adapter.adapter_id)
    assert disposal.settle(acme) == []
    assert registry.get_alias(acme, CHAMPION) == adapter.version
    act(acme, "retire", adapter.adapter_id, True)
    disposal.settle(acme)
    assert registry.get_alias(acme, CHAMPION) is None


def test_the_bytes_of_a_deleted_one_go_everywhere(acme: str, tmp_path: Path) -> None:
    run_id = rows.run(acme, status="succeeded", evaluation={"side_by_side": ["secret"]})
    adapter = registered(acme, tmp_path, seed=11, request_id=run_id)
    sha256 = str(adapter.sha256)
    rows.change(TrainingRun, run_id, package_sha256=sha256)
    checkpoint = TrainingCheckpoint(
        checkpoint_id=new_id(),
        company_id=acme,
        request_id=run_id,
        attempt=1,
        step_number=1,
        sha256="1" * 64,
    )
    with company_session(acme) as session:
        session.add(checkpoint)
        session.add(
            Decision(
                decision_id=new_id(),
                company_id=acme,
                adapter_id=adapter.adapter_id,
                outcome="promoted",
                reason="better",
                evidence={"side_by_side": ["secret"]},
            )
        )
    folder = package_of(adapter)
    assert folder.is_dir()
    act(acme, "delete", adapter.adapter_id, False)
    assert acme in disposal.unsettled()
    assert disposal.settle(acme) == [sha256]
    assert not folder.exists()
    assert not Path(str(adapter.registry_path)).exists()
    with pytest.raises(ModelNotFound):
        get_registry(get_settings()).get_model(acme, adapter.version)
    row = rows.get(LoraAdapter, adapter.adapter_id)
    assert (row.sha256, row.registry_path, row.adapter_path) == (None, None, None)
    run = rows.get(TrainingRun, run_id)
    assert (run.package_sha256, run.evaluation) == (None, None)
    with company_session(acme) as session:
        assert session.scalar(select(func.count()).select_from(TrainingCheckpoint)) == 0
        found = session.scalars(select(Decision).order_by(Decision.decision_id)).all()
    assert [(d.outcome, d.evidence) for d in found] == [("promoted", {}), ("deleted", {})]
    assert acme not in disposal.unsettled()
    assert disposal.settle(acme) == [], "there is nothing left to forget"


def test_equal_bytes_of_another_stay(acme: str, tmp_path: Path) -> None:
    other_company = rows.company("disposal")
    other = registered(other_company, tmp_path / "other")
    adapter = registered(acme, tmp_path / "mine")
    assert adapter.sha256 == other.sha256
    folder = package_of(other)
    act(acme, "delete", adapter.adapter_id, False)
    assert disposal.settle(acme) == []
    assert folder.is_dir()
    assert package_of(other) == folder
    assert adapter_cache().manifest(str(other.sha256)).sha256 == other.sha256


def test_a_retired_one_keeps_its_bytes(acme: str, tmp_path: Path) -> None:
    adapter = registered(acme, tmp_path)
    act(acme, "retire", adapter.adapter_id, False)
    disposal.settle(acme)
    assert package_of(rows.get(LoraAdapter, adapter.adapter_id)).is_dir()


def test_the_run_of_a_failed_training_can_still_be_replayed(acme: str) -> None:
    run_id = rows.run(acme, status="failed", package_sha256="2" * 64)
    adapter_id = rows.adapter(acme, status="failed", request_id=run_id, sha256="2" * 64)
    act(acme, "delete", adapter_id, False)
    disposal.settle(acme)
    assert rows.get(TrainingRun, run_id).package_sha256 == "2" * 64
