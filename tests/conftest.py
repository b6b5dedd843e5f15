"""What all tests share: one real Postgres and one real Valkey for the whole run.

`database_url` and `redis_url` give each test module a database of its own and point the product's
settings at it. Nothing here ever uses a server that the caller's environment names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg2
import pytest
import redis
from psycopg2 import sql

import settings
from database import migrate, session
from embedded import Servers
from embedded.servers import postgres, valkey
from embedded.servers.ports import Ports
from modelkit.blobs import get_blob_store
from modelkit.blobs.s3 import S3Blobs
from tests.support.blob_places import KINDS, BlobPlace, point_at
from tests.support.environment import FOLDERS, forget_settings
from tests.support.s3_server import S3Server

TEMPLATE = "cyrex_template"
# Variables that a running stack exports, and that would lead a test to it.
FOREIGN = (
    "DATABASE_URL",
    "REDIS_URL",
    "FLOWER_USER",
    "FLOWER_PASSWORD",
    "FLOWER_BASIC_AUTH",
    "CYREX_API_URL",
    "CYREX_FLOWER_URL",
    "CYREX_OPERATOR_KEY_FILE",
    "CYREX_READY_FILE",
    "MODEL_REGISTRY_TYPE",
    "MLFLOW_TRACKING_URI",
    "S3_ENDPOINT_URL",
    "S3_BUCKET",
    "S3_ACCESS_KEY_ID",
    "S3_SECRET_ACCESS_KEY",
    "BLOB_STORE_TYPE",
    "BLOB_S3_PREFIX",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "TOOL_SECRETS_KEY",
    "TOOL_ALLOWED_HOSTS",
)
_numbers = count(1)


@pytest.fixture(scope="session", autouse=True)
def own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test touches the caller's servers or data; the folder that it may write to."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        for name in FOREIGN:
            patch.delenv(name, raising=False)
        for name in FOLDERS:
            patch.setenv(name, str(folder / name.lower()))
        forget_settings()
        yield folder
    forget_settings()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with Servers(tmp_path_factory.mktemp("servers")) as running:
        yield running


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture(params=KINDS)
def blob_place(
    request: pytest.FixtureRequest, s3_server: S3Server, tmp_path: Path
) -> Iterator[BlobPlace]:
    """An empty blob store of the test's own, of each kind, which is the settings' store too."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path / "blobs"
        patch.setenv("BLOB_DIR", str(root))
        if request.param == "s3":
            bucket = s3_server.bucket(f"blobs-{next(_numbers)}")
            point_at(patch, bucket)
            root = s3_server.root / bucket.name
        forget_settings()
        store = get_blob_store(settings.get_settings())
        if isinstance(store, S3Blobs):
            vars(store)["_client"] = s3_server.client(store.bucket)
        yield BlobPlace(request.param, store, root, s3_server)
    forget_settings()


@pytest.fixture(scope="session")
def migrated_template(servers: Servers) -> str:
    """The name of a database with the newest schema, which nobody is connected to."""
    _create(servers, TEMPLATE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", _database_url(servers, TEMPLATE))
        forget_settings()
        migrate.upgrade()
        forget_settings()
    return TEMPLATE


@pytest.fixture(scope="module")
def database_url(servers: Servers, migrated_template: str) -> Iterator[str]:
    """A migrated, empty database of the module's own, owned by the product's role."""
    name = f"test_{next(_numbers)}"
    _create(servers, name, migrated_template)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", _database_url(servers, name))
        forget_settings()
        yield os.environ["DATABASE_URL"]
        session.dispose()
    forget_settings()
    _execute(servers, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture(scope="module")
def redis_url(servers: Servers) -> Iterator[str]:
    """An empty database of the module's own in Valkey."""
    number = next(_numbers) % valkey.DATABASES or next(_numbers)
    url = valkey.url(servers.layout, Ports(servers.layout.ports)["valkey"], number)
    client = redis.Redis.from_url(url)
    client.flushdb()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_URL", url)
        forget_settings()
        yield url
    forget_settings()
    client.flushdb()
    client.close()


def _database_url(servers: Servers, database: str) -> str:
    port = Ports(servers.layout.ports)["postgres"]
    return postgres.url(servers.layout, port, database=database)


def _create(servers: Servers, name: str, template: str = "template1") -> None:
    _execute(servers, "CREATE DATABASE {} OWNER {} TEMPLATE {}", name, postgres.ROLE, template)


def _execute(servers: Servers, statement: str, *names: str) -> None:
    """Run a statement as the superuser, the names quoted."""
    connection = psycopg2.connect(servers.superuser_url())
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
    finally:
        connection.close()
