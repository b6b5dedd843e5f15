"""Real registries: a directory, an S3 server that knows its secret, MLflow with and without one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import psycopg2
import pytest
import requests

from embedded import Servers
from embedded.servers import postgres
from embedded.servers.ports import Ports
from modelkit.directory_store import DirectoryStore
from modelkit.mlflow_client import QUIET
from modelkit.mlflow_registry import MlflowRegistry
from modelkit.registry import LocalRegistry, Registry
from modelkit.s3_client import Bucket
from modelkit.s3_store import S3Store
from modelkit.store import Store
from modelkit.store_registry import StoreRegistry
from tests.s3_server import S3Server, answers, free_port
from tests.waiting import eventually

# MLflow straight on Postgres, and behind a tracking server (which takes no folders: S3).
SERVED = pytest.param("mlflow-server", marks=pytest.mark.slow)
KINDS = ("local", "s3", "mlflow", "mlflow-s3", SERVED)
SERVER_SECONDS = 90.0  # it imports for long where others work too
_numbers = count(1)


@dataclass(frozen=True)
class Place:
    """A registry, and the folder on this disk in which its bytes lie."""

    kind: str
    registry: Registry
    models: Path
    server: S3Server

    @property
    def in_s3(self) -> bool:
        return self.kind in ("s3", "mlflow-s3", "mlflow-server")

    def files(self, name: str, version: int, sha256: str) -> Path:
        """Where the files of a version lie."""
        folder = self.models / name / str(version) / "model"
        return folder / sha256 if self.in_s3 else folder

    def notice(self) -> None:
        """After a test has changed files itself."""
        if self.in_s3:
            self.server.notice()


class MlflowServer:
    """`mlflow server` on a database: its REST API, as the small mlflow package has it."""

    def __init__(self, database: str, folder: Path) -> None:
        self.database = database
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self.start()

    def start(self) -> None:
        log = (self._folder / "server.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--port", str(self.port)]
            + ["--backend-store-uri", self.database, "--gunicorn-opts", "--workers 1"]
            + ["--default-artifact-root", str(self._folder / "artifacts")],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self._folder,
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | QUIET,
            start_new_session=True,
        )
        log.close()
        eventually(self.is_up, SERVER_SECONDS, "the MLflow server")

    def is_up(self) -> bool:
        assert self._process.poll() is None, (self._folder / "server.log").read_text()[-2000:]
        try:
            return requests.get(f"{self.uri}/health", timeout=2).ok
        except requests.RequestException:
            return False

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(20)
        eventually(lambda: not answers(self.port), 20, "the MLflow server's end")


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


def new_database(servers: Servers) -> str:
    """The address of an empty database of the product's role."""
    name = f"mlflow_{next(_numbers)}"
    port = Ports(servers.layout.ports)["postgres"]
    with postgres.superuser(servers.layout, port) as cursor:
        cursor.execute(f"CREATE DATABASE {name} OWNER {postgres.ROLE}")
    url = postgres.url(servers.layout, port, database=name)
    return url.replace("postgresql://", "postgresql+psycopg2://", 1)


@pytest.fixture(scope="session")
def mlflow_uri(servers: Servers) -> str:
    return new_database(servers)


@pytest.fixture(scope="session")
def mlflow_registry(mlflow_uri: str, tmp_path_factory: pytest.TempPathFactory) -> MlflowRegistry:
    """Connected once: MLflow makes its tables for seconds."""
    return MlflowRegistry(DirectoryStore(tmp_path_factory.mktemp("mlflow")), mlflow_uri)


def empty_catalogue(uri: str) -> None:
    connection = psycopg2.connect(uri.replace("+psycopg2", "", 1))
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('registered_models')")
        if cursor.fetchone() != (None,):
            cursor.execute("TRUNCATE registered_models CASCADE")
    connection.close()


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


def with_secret(bucket: Bucket, secret: str) -> Bucket:
    return replace(bucket, secret_access_key=secret)
