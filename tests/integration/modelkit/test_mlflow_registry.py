"""MLflow on Postgres: what its catalogue says, outages, several processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from embedded import Servers
from embedded.servers import postgres
from embedded.servers.ports import Ports
from modelkit.directory_store import DirectoryStore
from modelkit.errors import RegistryDamaged, RegistryDenied, RegistryUnavailable
from modelkit.mlflow_registry import SHA256_TAG, VERSION_TAG, MlflowRegistry
from modelkit.registry import LocalRegistry
from tests.support.model_packages import write_package
from tests.support.registries import empty_catalogue, new_database
from tests.support.s3_server import free_port

CHILD = """
import sys
from modelkit.directory_store import DirectoryStore
from modelkit.mlflow_registry import MlflowRegistry
root, uri, source = sys.argv[1:]
registry = MlflowRegistry(DirectoryStore(root), uri)
print(registry.register_model("acme", 1, source, {"adapter_id": "a1"}).sha256)
"""


@pytest.fixture
def registry(mlflow_registry: MlflowRegistry, mlflow_uri: str, tmp_path: Path) -> MlflowRegistry:
    empty_catalogue(mlflow_uri)
    mlflow_registry.store = DirectoryStore(tmp_path / "registry")
    return mlflow_registry


def entries(registry: MlflowRegistry, name: str) -> list[Any]:
    """What MLflow itself says, for whoever looks there."""
    return list(registry._client.search_model_versions(f"name = '{name}'"))


def test_the_catalogue_tells_version_identity_and_place(
    registry: MlflowRegistry, tmp_path: Path
) -> None:
    from mlflow.artifacts import download_artifacts

    source = write_package(tmp_path / "a")
    for _ in range(2):
        model = registry.register_model("acme", 7, source, {"adapter_id": "a1"})
    registry.set_alias("acme", "champion", 7)
    (entry,) = entries(registry, "acme")
    assert entry.tags == {VERSION_TAG: "7", SHA256_TAG: model.sha256, "adapter_id": "a1"}
    assert entry.source == Path(model.path).as_uri()
    (found,) = registry._client.search_model_versions("tags.adapter_id = 'a1'")
    assert found.tags[SHA256_TAG] == model.sha256
    assert registry._client.get_registered_model("acme").aliases == {"champion": entry.version}
    copy = Path(download_artifacts(artifact_uri=entry.source, dst_path=str(tmp_path / "copy")))
    assert (copy / "receipt.json").read_bytes() == (source / "receipt.json").read_bytes()


def test_what_was_local_before_is_entered_when_it_is_met(
    registry: MlflowRegistry, tmp_path: Path
) -> None:
    local = LocalRegistry(tmp_path / "registry")
    for version in (1, 2):
        source = write_package(tmp_path / str(version), version)
        local.register_model("acme", version, source, {"adapter_id": f"a{version}"})
    assert registry.get_model("acme", 1) == local.get_model("acme", 1)
    assert [e.tags[VERSION_TAG] for e in entries(registry, "acme")] == ["1"]
    assert registry.list_models() == local.list_models()
    assert sorted(e.tags[VERSION_TAG] for e in entries(registry, "acme")) == ["1", "2"]


def test_the_catalogue_and_the_store_must_agree(registry: MlflowRegistry, tmp_path: Path) -> None:
    model = registry.register_model("acme", 1, write_package(tmp_path / "a"), {})
    # Somebody replaces package and document, which agree with one another.
    elsewhere = LocalRegistry(tmp_path / "elsewhere")
    elsewhere.register_model("acme", 1, write_package(tmp_path / "b", 1), {})
    stored = Path(model.path).parent
    stored.rename(tmp_path / "gone")
    (tmp_path / "elsewhere/models/acme/1").rename(stored)
    for call in (registry.get_model, registry.list_models):
        with pytest.raises(RegistryDamaged, match="different packages"):
            call("acme")
    with pytest.raises(RegistryDamaged):
        registry.download_model("acme", 1, tmp_path / "copy")


def test_an_outage_is_an_os_error_and_hides_the_password(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "registry")
    source = write_package(tmp_path / "a")
    for uri in (
        f"postgresql+psycopg2://cyrex:hidden@127.0.0.1:{free_port()}/mlflow",
        f"http://cyrex:hidden@127.0.0.1:{free_port()}",
    ):
        began = time.monotonic()
        with pytest.raises(RegistryUnavailable, match="MLflow at ") as away:
            MlflowRegistry(store, uri).register_model("acme", 1, source, {})
        assert isinstance(away.value, OSError)
        assert "hidden" not in str(away.value)
        assert "\n" not in str(away.value)
        assert time.monotonic() - began < 20


def test_a_wrong_password_is_refused(mlflow_uri: str, tmp_path: Path) -> None:
    user, _, place = mlflow_uri.rpartition("@")
    wrong = f"{user.rpartition(':')[0]}:wrong@{place}"
    registry = MlflowRegistry(DirectoryStore(tmp_path / "registry"), wrong)
    with pytest.raises(RegistryDenied, match="password authentication failed"):
        registry.register_model("acme", 1, write_package(tmp_path / "a"), {})


def test_connections_that_die_are_replaced(
    registry: MlflowRegistry, servers: Servers, tmp_path: Path
) -> None:
    model = registry.register_model("acme", 1, write_package(tmp_path / "a"), {})
    with postgres.superuser(servers.layout, Ports(servers.layout.ports)["postgres"]) as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'mlflow%'"
        )
    assert registry.get_model("acme", 1) == model


def test_processes_make_tables_and_entry_once(servers: Servers, tmp_path: Path) -> None:
    uri = new_database(servers)
    source = write_package(tmp_path / "a")
    command = [sys.executable, "-c", CHILD, str(tmp_path / "registry"), uri, str(source)]
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path)
        for _ in range(3)
    ]
    outputs = {child.communicate(timeout=120)[0] for child in children}
    assert [child.returncode for child in children] == [0, 0, 0]
    assert len(outputs) == 1
    registry = MlflowRegistry(DirectoryStore(tmp_path / "registry"), uri)
    (entry,) = entries(registry, "acme")
    assert entry.tags[SHA256_TAG] + "\n" in outputs
    # Nothing is left where the processes ran.
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "registry"]


def test_the_api_imports_neither_mlflow_nor_boto3() -> None:
    script = (
        "import sys, web, modelkit.registry, modelkit.mlflow_registry, modelkit.s3_store;"
        "print({'mlflow', 'boto3', 'botocore'} & set(sys.modules))"
    )
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=60
    )
    assert done.stdout == "set()\n", done.stderr
