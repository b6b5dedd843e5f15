"""A real MLflow tracking server in front; what every registry does is in test_registries."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest

from embedded import Servers
from modelkit import package
from modelkit.directory_store import DirectoryStore
from modelkit.errors import RegistryError, RegistryUnavailable, VersionExists
from modelkit.mlflow_registry import SHA256_TAG, VERSION_TAG, MlflowRegistry
from modelkit.s3_client import Bucket
from modelkit.s3_store import S3Store
from tests.support.model_packages import write_package
from tests.support.registries import MlflowServer, new_database
from tests.support.waiting import together

pytestmark = pytest.mark.slow

OUTAGE_SECONDS = 20.0


def test_the_server_tells_version_identity_and_place(
    mlflow_server: MlflowServer, bucket: Bucket, tmp_path: Path
) -> None:
    registry = MlflowRegistry(S3Store(bucket), mlflow_server.uri)
    model = registry.register_model("told", 7, write_package(tmp_path / "a"), {"adapter_id": "a1"})
    registry.set_alias("told", "champion", 7)
    # Straight on the server's database, as somebody else would look.
    looking = MlflowRegistry(S3Store(bucket), mlflow_server.database)
    (entry,) = looking._client.search_model_versions("name = 'told'")
    assert entry.tags == {VERSION_TAG: "7", SHA256_TAG: model.sha256, "adapter_id": "a1"}
    assert entry.source == model.path == f"s3://{bucket.name}/models/told/7/model/{model.sha256}"
    assert looking.get_alias("told", "champion") == 7


def test_rivals_leave_one_entry(
    mlflow_server: MlflowServer, bucket: Bucket, tmp_path: Path
) -> None:
    registries = [MlflowRegistry(S3Store(bucket), mlflow_server.uri) for _ in range(4)]
    sources = [write_package(tmp_path / str(seed), seed) for seed in range(4)]

    def register(registry: MlflowRegistry, source: Path) -> str | None:
        try:
            return registry.register_model("rivals", 1, source, {}).sha256
        except VersionExists:
            return None

    answers = together([partial(register, *pair) for pair in zip(registries, sources, strict=True)])
    stored = registries[0].get_model("rivals", 1)
    assert stored.sha256 in answers
    (entry,) = registries[0]._client.search_model_versions("name = 'rivals'")
    assert entry.tags[SHA256_TAG] == stored.sha256
    copy = registries[1].download_model("rivals", 1, tmp_path / "copy")
    package.verify(copy, stored.manifest)


def test_a_folder_of_this_machine_is_refused(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    registry = MlflowRegistry(DirectoryStore(tmp_path / "registry"), mlflow_server.uri)
    with pytest.raises(RegistryError, match="Invalid model version source"):
        registry.register_model("local", 1, write_package(tmp_path / "a"), {})


def test_an_outage_is_noticed_and_outlived(
    servers: Servers, bucket: Bucket, tmp_path: Path
) -> None:
    pytest.importorskip("flask_cors", reason="MLflow's server needs the package flask-cors")
    (tmp_path / "server").mkdir()
    server = MlflowServer(new_database(servers), tmp_path / "server")
    registry = MlflowRegistry(S3Store(bucket), server.uri)
    registry.register_model("away", 1, write_package(tmp_path / "a"), {})
    server.stop()
    began = time.monotonic()
    with pytest.raises(RegistryUnavailable, match=r"MLflow at http://127\.0\.0\.1"):
        registry.get_model("away", 1)
    assert time.monotonic() - began < OUTAGE_SECONDS
    server.start()
    try:
        assert registry.get_model("away", 1).version == 1
    finally:
        server.stop()
