from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelkit import package
from modelkit.directory_store import DirectoryStore
from modelkit.errors import (
    ModelNotFound,
    PackageRefused,
    RegistryDamaged,
    RegistryError,
    VersionExists,
)
from modelkit.mlflow_registry import MlflowRegistry
from modelkit.registry import LocalRegistry, get_registry
from modelkit.s3_store import S3Store
from modelkit.store_registry import StoreRegistry

Make = Callable[..., Path]


@pytest.fixture
def registry(tmp_path: Path) -> LocalRegistry:
    return LocalRegistry(tmp_path / "registry")


def test_a_registered_package_is_found_whole(
    registry: LocalRegistry, make_package: Make, tmp_path: Path
) -> None:
    source = make_package("a")
    model = registry.register_model("acme", 1, source, {"adapter_id": "x", "é": [1]})
    assert model.sha256 == package.build(source).sha256
    assert model.metadata == {"adapter_id": "x", "é": [1]}
    assert model.created_at.tzinfo is not None
    assert registry.get_model("acme", 1) == model
    layout = tmp_path / "registry/models/acme/1"
    assert sorted(p.name for p in layout.iterdir()) == ["metadata.json", "model"]
    copy = registry.download_model("acme", 1, tmp_path / "copies" / "new")
    package.verify(copy, model.manifest)


def test_latest_is_the_highest_number(registry: LocalRegistry, make_package: Make) -> None:
    for version in (9, 10, 2):
        registry.register_model("acme", version, make_package(f"v{version}", seed=version), {})
    assert registry.get_model("acme").version == 10
    assert [model.version for model in registry.list_models("acme")] == [2, 9, 10]


def test_a_version_never_changes(registry: LocalRegistry, make_package: Make) -> None:
    first = registry.register_model("acme", 1, make_package("a"), {"n": 1})
    assert registry.register_model("acme", 1, make_package("again"), {"n": 2}) == first
    with pytest.raises(VersionExists, match="acme"):
        registry.register_model("acme", 1, make_package("b", seed=1), {})
    assert registry.get_model("acme", 1) == first


def test_companies_are_listed_apart(registry: LocalRegistry, make_package: Make) -> None:
    registry.register_model("bolt", 1, make_package("b", seed=1), {})
    registry.register_model("acme", 1, make_package("a"), {})
    assert [model.name for model in registry.list_models()] == ["acme", "bolt"]
    assert [model.name for model in registry.list_models("bolt")] == ["bolt"]
    assert registry.list_models("nobody") == []


def test_what_is_not_there_is_named(registry: LocalRegistry, make_package: Make) -> None:
    registry.register_model("acme", 1, make_package("a"), {})
    for name, version in (("nobody", None), ("nobody", 1), ("acme", 2)):
        with pytest.raises(ModelNotFound, match=name):
            registry.get_model(name, version)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", ".lock", "a" * 200, "a\n"])
def test_odd_names_are_refused(registry: LocalRegistry, make_package: Make, name: str) -> None:
    with pytest.raises(RegistryError, match="not a model name"):
        registry.register_model(name, 1, make_package("a"), {})
    with pytest.raises(RegistryError, match="not a model name"):
        registry.get_model(name)


@pytest.mark.parametrize("version", [0, -1, True, "1"])
def test_odd_versions_are_refused(
    registry: LocalRegistry, make_package: Make, version: int
) -> None:
    with pytest.raises(RegistryError, match="integer from 1"):
        registry.register_model("acme", version, make_package("a"), {})


def test_a_refused_package_leaves_nothing(registry: LocalRegistry, make_package: Make) -> None:
    folder = make_package("a")
    (folder / "x.pkl").write_bytes(b"")
    with pytest.raises(PackageRefused):
        registry.register_model("acme", 1, folder, {})
    assert list(registry.models.iterdir()) == []


def test_metadata_that_is_no_json_leaves_nothing(
    registry: LocalRegistry, make_package: Make
) -> None:
    with pytest.raises(TypeError):
        registry.register_model("acme", 1, make_package("a"), {"x": object()})
    assert registry.list_models() == []
    assert list(registry.models.iterdir()) == []


def test_damaged_bytes_are_not_handed_out(
    registry: LocalRegistry, make_package: Make, tmp_path: Path
) -> None:
    model = registry.register_model("acme", 1, make_package("a"), {})
    weights = Path(model.path) / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(PackageRefused, match="SHA-256"):
        registry.download_model("acme", 1, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert list(tmp_path.glob(".incoming*")) == []


def test_damaged_metadata_is_named(registry: LocalRegistry, make_package: Make) -> None:
    model = registry.register_model("acme", 1, make_package("a"), {})
    path = Path(model.path).parent / "metadata.json"
    document = json.loads(path.read_text())
    for damaged in ("{", "[]", json.dumps(document | {"version": 2}), json.dumps({})):
        path.write_text(damaged)
        with pytest.raises(RegistryDamaged, match="acme"):
            registry.get_model("acme", 1)


def test_a_destination_with_something_in_it_is_left_alone(
    registry: LocalRegistry, make_package: Make, tmp_path: Path
) -> None:
    registry.register_model("acme", 1, make_package("a"), {})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(RegistryError, match="not empty"):
        registry.download_model("acme", 1, tmp_path / "full")
    (tmp_path / "empty").mkdir()
    assert registry.download_model("acme", 1, tmp_path / "empty") == tmp_path / "empty"


@dataclass
class Values:
    model_registry_type: str
    model_registry_path: Path
    mlflow_tracking_uri: str = ""
    s3_endpoint_url: str = ""
    s3_bucket: str = ""
    s3_access_key_id: str = ""
    s3_secret_access_key: str = ""
    s3_region: str = "us-east-1"


def test_the_settings_choose_the_registry(tmp_path: Path) -> None:
    assert isinstance(get_registry(Values("local", tmp_path / "r")), LocalRegistry)
    bucket = {"s3_bucket": "adapters"}
    uri = {"mlflow_tracking_uri": "postgresql+psycopg2://nobody@127.0.0.1:1/mlflow"}
    s3 = get_registry(Values("s3", tmp_path / "r", **bucket))
    assert isinstance(s3, StoreRegistry)
    assert isinstance(s3.store, S3Store)
    on_disk = get_registry(Values("mlflow", tmp_path / "r", **uri))
    assert isinstance(on_disk, MlflowRegistry)
    assert isinstance(on_disk.store, DirectoryStore)
    in_s3 = get_registry(Values("mlflow", tmp_path / "r", **uri, **bucket))
    assert isinstance(in_s3, MlflowRegistry)
    assert isinstance(in_s3.store, S3Store)
    # Each keeps its connections.
    assert get_registry(Values("s3", tmp_path / "r", **bucket)) is s3
    with pytest.raises(RegistryError, match="'floppy'"):
        get_registry(Values("floppy", tmp_path))
