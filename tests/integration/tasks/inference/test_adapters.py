"""An inference worker's adapters: which one an answer is to come from, and which one may not."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cyrex.errors import NotFound, UserError
from database.models import LoraAdapter
from database.session import operator_session
from modelkit.registry import get_registry
from settings import get_settings
from tasks.inference import adapters as module
from tasks.inference.adapters import AdapterWatch
from tests.support import rows
from tests.support.packages import write_package


@pytest.fixture
def watch() -> AdapterWatch:
    return AdapterWatch()


@pytest.fixture
def adapter(acme: str, tmp_path: Path) -> LoraAdapter:
    adapter_id = rows.adapter(acme)
    version = rows.get(LoraAdapter, adapter_id).version
    model = get_registry(get_settings()).register_model(acme, version, write_package(tmp_path), {})
    rows.change(LoraAdapter, adapter_id, sha256=model.sha256, registry_path=model.path)
    found: LoraAdapter = rows.get(LoraAdapter, adapter_id)
    return found


def test_an_adapter_is_named_by_company_id_and_hash(
    watch: AdapterWatch, adapter: LoraAdapter
) -> None:
    ref = watch.ref_of(adapter.company_id, adapter.adapter_id, str(adapter.sha256))
    named = (ref.key.company, ref.key.adapter_id, ref.key.sha256)
    assert named == (adapter.company_id, adapter.adapter_id, adapter.sha256)


def test_its_row_is_not_read_again_at_once(watch: AdapterWatch, adapter: LoraAdapter) -> None:
    first = watch.ref_of(adapter.company_id, adapter.adapter_id, str(adapter.sha256))
    rows.change(LoraAdapter, adapter.adapter_id, base_model="x/other")
    assert watch.ref_of(adapter.company_id, adapter.adapter_id, str(adapter.sha256)) is first


def test_an_unknown_adapter_is_refused(watch: AdapterWatch, adapter: LoraAdapter) -> None:
    with pytest.raises(NotFound, match="nobody"):
        watch.ref_of(adapter.company_id, "nobody", str(adapter.sha256))


def test_another_companys_adapter_is_unknown(watch: AdapterWatch, adapter: LoraAdapter) -> None:
    with pytest.raises(NotFound):
        watch.ref_of(rows.company(), adapter.adapter_id, str(adapter.sha256))


def test_an_adapter_with_other_bytes_is_refused(watch: AdapterWatch, adapter: LoraAdapter) -> None:
    with pytest.raises(UserError) as refused:
        watch.ref_of(adapter.company_id, adapter.adapter_id, "0" * 64)
    assert refused.value.code == "adapter_changed"


def retire(adapter: LoraAdapter, status: str = "retired") -> None:
    rows.change(LoraAdapter, adapter.adapter_id, status=status)


@pytest.mark.parametrize("status", module.ENDED)
def test_a_retired_or_deleted_one_is_refused_by_name(
    watch: AdapterWatch, adapter: LoraAdapter, status: str
) -> None:
    retire(adapter, status)
    with pytest.raises(NotFound, match=f"{adapter.adapter_id}' was {status}"):
        watch.ref_of(adapter.company_id, adapter.adapter_id, str(adapter.sha256))


def test_a_look_stops_the_answers_of_a_retired_one_and_no_others(
    watch: AdapterWatch, adapter: LoraAdapter
) -> None:
    ref = watch.ref_of(adapter.company_id, adapter.adapter_id, str(adapter.sha256))
    stopped: list[str] = []
    with watch.using(ref) as use, watch.using(None) as base:
        use.on_refusal(lambda: stopped.append("adapter"))
        base.on_refusal(lambda: stopped.append("base"))
        watch.look()
        assert (use.refusal, stopped) == (None, [])
        retire(adapter)
        watch.look()
        assert stopped == ["adapter"]
        assert base.refusal is None
        assert use.refusal is not None
        assert use.refusal.code == "model_not_found"
        again: list[str] = []
        use.on_refusal(lambda: again.append("at once"))
        assert again == ["at once"]
    with pytest.raises(NotFound, match="was retired"):
        watch.ref_of(adapter.company_id, adapter.adapter_id, str(adapter.sha256))


def test_one_whose_row_is_gone_is_stopped(watch: AdapterWatch, adapter: LoraAdapter) -> None:
    ref = watch.ref_of(adapter.company_id, adapter.adapter_id, str(adapter.sha256))
    with watch.using(ref) as use:
        with operator_session() as session:
            session.delete(session.get_one(LoraAdapter, adapter.adapter_id))
        watch.look()
        assert use.refusal is not None
        assert "there is no adapter" in use.refusal.message


def test_the_thread_looks_by_itself(watch: AdapterWatch, adapter: LoraAdapter) -> None:
    ref = watch.ref_of(adapter.company_id, adapter.adapter_id, str(adapter.sha256))
    stopped = threading.Event()
    watch.start()
    try:
        with watch.using(ref) as use:
            use.on_refusal(stopped.set)
            retire(adapter)
            assert stopped.wait(30)
    finally:
        watch.stop()


def test_one_that_nobody_asks_for_is_watched_no_more(
    watch: AdapterWatch, adapter: LoraAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = watch.ref_of(adapter.company_id, adapter.adapter_id, str(adapter.sha256))
    monkeypatch.setattr(module, "REF_SECONDS", 0.0)
    with watch.using(ref):
        watch.look()
        assert watch._known != {}
    watch.look()
    assert watch._known == {}
