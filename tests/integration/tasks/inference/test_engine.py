"""An inference worker's adapters: which one an answer is to come from, and which one may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cyrex.errors import NotFound, UserError
from database.models import LoraAdapter
from modelkit.registry import get_registry
from settings import get_settings
from tasks.inference import engine
from tests.support import rows
from tests.support.packages import write_package


@pytest.fixture
def adapter(acme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoraAdapter:
    monkeypatch.setattr(engine, "_refs", {})
    adapter_id = rows.adapter(acme)
    version = rows.get(LoraAdapter, adapter_id).version
    model = get_registry(get_settings()).register_model(acme, version, write_package(tmp_path), {})
    rows.change(LoraAdapter, adapter_id, sha256=model.sha256, registry_path=model.path)
    found: LoraAdapter = rows.get(LoraAdapter, adapter_id)
    return found


def test_an_adapter_is_named_by_company_id_and_hash(adapter: LoraAdapter) -> None:
    ref = engine.ref_of(adapter.company_id, adapter.adapter_id, str(adapter.sha256))
    named = (ref.key.company, ref.key.adapter_id, ref.key.sha256)
    assert named == (adapter.company_id, adapter.adapter_id, adapter.sha256)


def test_its_row_is_not_read_again_at_once(adapter: LoraAdapter) -> None:
    first = engine.ref_of(adapter.company_id, adapter.adapter_id, str(adapter.sha256))
    rows.change(LoraAdapter, adapter.adapter_id, base_model="x/other")
    assert engine.ref_of(adapter.company_id, adapter.adapter_id, str(adapter.sha256)) is first


def test_an_unknown_adapter_is_refused(adapter: LoraAdapter) -> None:
    with pytest.raises(NotFound, match="nobody"):
        engine.ref_of(adapter.company_id, "nobody", str(adapter.sha256))


def test_another_companys_adapter_is_unknown(adapter: LoraAdapter) -> None:
    with pytest.raises(NotFound):
        engine.ref_of(rows.company(), adapter.adapter_id, str(adapter.sha256))


def test_an_adapter_with_other_bytes_is_refused(adapter: LoraAdapter) -> None:
    with pytest.raises(UserError) as refused:
        engine.ref_of(adapter.company_id, adapter.adapter_id, "0" * 64)
    assert refused.value.code == "adapter_changed"


def test_a_process_without_an_engine_says_so() -> None:
    with pytest.raises(AssertionError, match="inference queue only"):
        engine.engine()
    assert engine.warm_adapter(None, "acme", "a") == {"ok": "no engine here"}
