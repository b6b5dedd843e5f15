"""The steps of an announced adapter, from here or from outside."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from cyrex.adapters import steps as adapter_steps
from cyrex.adapters.files import package_of
from cyrex.adapters.promotion import decide, judge
from cyrex.errors import UserError
from cyrex.work.lease import Advance, Finish, Lease
from database.base import new_id
from database.models import AdapterAlias, LoraAdapter
from database.session import operator_session
from database.transitions import ADAPTER
from modelkit import package
from modelkit.registry import get_registry
from settings import get_settings
from synapse.payloads import AdapterReady
from tests.support import rows
from tests.support.packages import write_package

pytestmark = pytest.mark.usefixtures("database_url")


@pytest.fixture
def acme() -> str:
    return rows.company()


def announced(company_id: str, folder: Path | None, **values: Any) -> LoraAdapter:
    """An outside system's adapter, announced by event."""
    news = AdapterReady.model_validate(
        {
            "adapter_id": new_id(),
            "company_id": company_id,
            "adapter_path": folder and str(folder),
            **values,
        }
    )
    with operator_session() as session:
        assert adapter_steps.announced(session, news)
    found: LoraAdapter = rows.get(LoraAdapter, news.adapter_id)
    return found


def registered(company_id: str, folder: Path, seed: int = 1) -> LoraAdapter:
    """An adapter whose package is in the registry."""
    adapter_id = rows.adapter(company_id, status="announced", step="fetch")
    row = rows.get(LoraAdapter, adapter_id)
    model = get_registry(get_settings()).register_model(
        company_id, row.version, write_package(folder / str(seed), seed), {}
    )
    rows.change(LoraAdapter, adapter_id, sha256=model.sha256, registry_path=model.path)
    found: LoraAdapter = rows.get(LoraAdapter, adapter_id)
    return found


def fetch(adapter: LoraAdapter) -> Advance:
    outcome = adapter_steps.fetch(adapter, lease_of(adapter))
    assert isinstance(outcome, Advance)
    rows.change(LoraAdapter, adapter.adapter_id, **outcome.values)
    return outcome


def lease_of(adapter: LoraAdapter) -> Lease:
    return Lease(ADAPTER, adapter.company_id, adapter.adapter_id, "fetch", 1, "worker")


def evaluate(adapter: LoraAdapter) -> dict[str, Any]:
    rows.change(LoraAdapter, adapter.adapter_id, lease_owner="worker")
    outcome = adapter_steps.evaluate(adapter, lease_of(adapter))
    assert isinstance(outcome, Advance)
    return outcome.values


def test_a_registered_package_is_brought_here_and_verified(acme: str, tmp_path: Path) -> None:
    adapter = registered(acme, tmp_path)
    assert fetch(adapter).values == {}
    assert package.build(package_of(adapter)).sha256 == adapter.sha256


def test_a_package_that_changed_in_the_registry_is_refused(acme: str, tmp_path: Path) -> None:
    adapter = registered(acme, tmp_path, seed=2)
    other = registered(rows.company(), tmp_path, seed=3)
    shutil.copytree(str(other.registry_path), str(adapter.registry_path), dirs_exist_ok=True)
    with pytest.raises(UserError) as refused:
        adapter_steps.fetch(adapter, lease_of(adapter))
    assert refused.value.code == "package_refused"


def test_an_outside_package_goes_into_the_registry(acme: str, tmp_path: Path) -> None:
    adapter = announced(acme, write_package(tmp_path / "theirs", seed=4))
    values = fetch(adapter).values
    assert values["sha256"] == package.build(tmp_path / "theirs").sha256
    assert get_registry(get_settings()).get_model(acme, 1).path == values["registry_path"]
    again = rows.get(LoraAdapter, adapter.adapter_id)
    assert fetch(again).values == {}, "what was imported is fetched like any other"


@pytest.mark.parametrize("path", [None, "nowhere"])
def test_an_outside_package_must_be_there(acme: str, tmp_path: Path, path: str | None) -> None:
    adapter = announced(acme, path and tmp_path / path)
    with pytest.raises(UserError, match="no folder") as refused:
        adapter_steps.fetch(adapter, lease_of(adapter))
    assert refused.value.param == "adapter_path"


def test_an_outside_package_that_cannot_be_served_is_refused_by_name(
    acme: str, tmp_path: Path
) -> None:
    adapter = announced(acme, write_package(tmp_path / "theirs", modules_to_save=["lm_head"]))
    with pytest.raises(UserError, match="modules_to_save"):
        adapter_steps.fetch(adapter, lease_of(adapter))
    assert get_registry(get_settings()).list_models(acme) == []


def test_an_outside_package_with_other_bytes_than_announced_is_refused(
    acme: str, tmp_path: Path
) -> None:
    folder = write_package(tmp_path / "theirs", seed=5)
    adapter = announced(acme, folder, sha256="0" * 64)
    with pytest.raises(UserError):
        adapter_steps.fetch(adapter, lease_of(adapter))
    good = announced(acme, folder, sha256=package.build(folder).sha256)
    assert fetch(good).values["sha256"] == package.build(folder).sha256


@pytest.mark.parametrize("other", [{"base_model": "x/other"}, {"base_sha256": "0" * 64}])
def test_an_adapter_of_another_base_is_refused_by_name(
    acme: str, tmp_path: Path, other: dict[str, str]
) -> None:
    adapter = registered(acme, tmp_path)
    rows.change(LoraAdapter, adapter.adapter_id, **other)
    adapter = rows.get(LoraAdapter, adapter.adapter_id)
    with pytest.raises(UserError, match=adapter.adapter_id) as refused:
        adapter_steps.fetch(adapter, lease_of(adapter))
    assert refused.value.code == "base_model_mismatch"


def test_with_nothing_held_out_the_receipt_says_so(acme: str, tmp_path: Path) -> None:
    adapter = registered(acme, tmp_path)
    found = evaluate(adapter)["evaluation"]
    assert (found["champion_id"], found["sha256"]) == (None, adapter.sha256)
    assert (found["examples"], found["scores"]) == (0, {})


def test_a_receipt_of_this_package_and_this_champion_is_not_made_again(
    acme: str, tmp_path: Path
) -> None:
    adapter = registered(acme, tmp_path)
    receipt = {"champion_id": None, "sha256": adapter.sha256, "scores": {"candidate": {}}}
    rows.change(LoraAdapter, adapter.adapter_id, evaluation=receipt)
    assert evaluate(rows.get(LoraAdapter, adapter.adapter_id)) == {}
    rows.change(LoraAdapter, adapter.adapter_id, evaluation={**receipt, "sha256": "other"})
    assert "evaluation" in evaluate(rows.get(LoraAdapter, adapter.adapter_id))


def crown(adapter: LoraAdapter) -> None:
    with operator_session() as session:
        session.add(
            AdapterAlias(
                alias_id=new_id(),
                company_id=adapter.company_id,
                champion_id=adapter.adapter_id,
            )
        )


def test_a_receipt_against_another_champion_is_made_again(acme: str, tmp_path: Path) -> None:
    champion = registered(acme, tmp_path)
    adapter = registered(acme, tmp_path, seed=2)
    receipt = {"champion_id": None, "sha256": adapter.sha256, "scores": {}}
    rows.change(LoraAdapter, adapter.adapter_id, evaluation=receipt)
    crown(champion)
    found = evaluate(rows.get(LoraAdapter, adapter.adapter_id))["evaluation"]
    assert found["champion_id"] == champion.adapter_id


def test_a_champion_of_other_base_weights_does_not_stop_its_successor(
    acme: str, tmp_path: Path
) -> None:
    """The base model was remade, and the company is told to train again: so it must be able to."""
    champion = registered(acme, tmp_path)
    rows.change(LoraAdapter, champion.adapter_id, base_sha256="0" * 64)
    crown(champion)
    adapter = registered(acme, tmp_path, seed=2)
    rows.change(LoraAdapter, adapter.adapter_id, **evaluate(adapter))
    outcome = decide(rows.get(LoraAdapter, adapter.adapter_id))
    assert isinstance(outcome, Finish)
    assert outcome.status == "ready"


def test_without_a_champion_to_compare_with_the_base_is_the_rival() -> None:
    base = {"scores": [1.0] * 9 + [0.0], "mean_loss": 0.1}
    worse = {"scores": [1.0] + [0.0] * 9, "mean_loss": 1.0}
    verdict = judge({"scores": {"base": base, "candidate": worse}}, has_champion=True)
    assert not verdict.promote
    assert verdict.evidence["rival"] == "base"
