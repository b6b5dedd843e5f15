"""Real registries: their folders, an MLflow server, databases for MLflow."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import psycopg2
import requests

from embedded import Servers
from embedded.servers import postgres
from embedded.servers.ports import Ports
from modelkit.mlflow_client import QUIET
from modelkit.registry import Registry
from modelkit.s3_client import Bucket
from tests.support.s3_server import S3Server, answers, free_port
from tests.support.waiting import eventually

SERVER_SECONDS = 90.0  # Its imports take long on a busy machine.


_numbers = count(1)


@dataclass(frozen=True)
class Place:
    """A registry, and the local folder with its bytes."""

    kind: str
    registry: Registry
    models: Path
    server: S3Server

    @property
    def in_s3(self) -> bool:
        return self.kind in ("s3", "mlflow-s3", "mlflow-server")

    def files(self, name: str, version: int, sha256: str) -> Path:
        """The folder of a version's files."""
        folder = self.models / name / str(version) / "model"
        return folder / sha256 if self.in_s3 else folder

    def notice(self) -> None:
        """Call it after changing files directly: the S3 server reads them again."""
        if self.in_s3:
            self.server.notice()


class MlflowServer:
    """`mlflow server` on a database, from mlflow-skinny: the REST API alone."""

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


def new_database(servers: Servers) -> str:
    """Create an empty database owned by the product's role; returns its URL."""
    name = f"mlflow_{next(_numbers)}"
    port = Ports(servers.layout.ports)["postgres"]
    with postgres.superuser(servers.layout, port) as cursor:
        cursor.execute(f"CREATE DATABASE {name} OWNER {postgres.ROLE}")
    url = postgres.url(servers.layout, port, database=name)
    return url.replace("postgresql://", "postgresql+psycopg2://", 1)


def empty_catalogue(uri: str) -> None:
    connection = psycopg2.connect(uri.replace("+psycopg2", "", 1))
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('registered_models')")
        if cursor.fetchone() != (None,):
            cursor.execute("TRUNCATE registered_models CASCADE")
    connection.close()


def with_secret(bucket: Bucket, secret: str) -> Bucket:
    return replace(bucket, secret_access_key=secret)
