"""Real registries: a directory, an S3 server that knows its secret, MLflow with and without one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from embedded import Servers
from modelkit.directory_store import DirectoryStore
from modelkit.mlflow_registry import MlflowRegistry
from modelkit.registry import LocalRegistry
from modelkit.s3_client import Bucket
from modelkit.s3_store import S3Store
from modelkit.store import Store
from modelkit.store_registry import StoreRegistry
from tests.support.registries import MlflowServer, Place, empty_catalogue, new_database
from tests.support.s3_server import S3Server

# MLflow straight on Postgres, and behind a tracking server (which takes no folders: S3).
SERVED = pytest.param("mlflow-server", marks=pytest.mark.slow)
_numbers = count(1)
KINDS = ("local", "s3", "mlflow", "mlflow-s3", SERVED)


@pytest.fixture(scope="session")
def mlflow_server(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MlflowServer]:
    pytest.importorskip("flask_cors", reason="MLflow's server needs the package flask-cors")
    server = MlflowServer(new_database(servers), tmp_path_factory.mktemp("mlflow-server"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def served_registry(mlflow_server: MlflowServer, s3_server: S3Server) -> MlflowRegistry:
    return MlflowRegistry(S3Store(s3_server.bucket("served")), mlflow_server.uri)


@pytest.fixture
def bucket(s3_server: S3Server) -> Bucket:
    """An empty bucket of the test's own."""
    return s3_server.bucket(f"bucket-{next(_numbers)}")


@pytest.fixture(scope="session")
def mlflow_uri(servers: Servers) -> str:
    return new_database(servers)


@pytest.fixture(scope="session")
def mlflow_registry(mlflow_uri: str, tmp_path_factory: pytest.TempPathFactory) -> MlflowRegistry:
    """Connected once: MLflow makes its tables for seconds."""
    return MlflowRegistry(DirectoryStore(tmp_path_factory.mktemp("mlflow")), mlflow_uri)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, s3_server: S3Server, tmp_path: Path) -> Iterator[Place]:
    kind = request.param
    if kind == "local":
        yield Place(
            kind, LocalRegistry(tmp_path / "registry"), tmp_path / "registry/models", s3_server
        )
        return
    name = f"bucket-{next(_numbers)}"
    folder = s3_server.root / name
    in_folder = kind == "mlflow"
    store: Store = DirectoryStore(folder) if in_folder else S3Store(s3_server.bucket(name))
    if isinstance(store, S3Store):
        vars(store)["_client"] = s3_server.client(store.bucket)
    if kind == "s3":
        yield Place(kind, StoreRegistry(store), folder / "models", s3_server)
    else:
        served = kind == "mlflow-server"
        registry: MlflowRegistry = request.getfixturevalue(
            "served_registry" if served else "mlflow_registry"
        )
        empty_catalogue(
            request.getfixturevalue("mlflow_server").database
            if served
            else request.getfixturevalue("mlflow_uri")
        )
        registry.store = store
        yield Place(kind, registry, folder / "models", s3_server)
