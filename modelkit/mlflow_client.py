"""A client of MLflow's model registry, on Postgres or behind a server, and its errors.

Importing this module is light: `connect` imports MLflow. It makes the model registry's client only:
`MlflowClient` would also make a tracking store, and a folder in the current directory.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg2

from modelkit.errors import RegistryDenied, RegistryError, RegistryUnavailable

CONNECT_SECONDS = 3
# An advisory lock's number that nothing else uses in MLflow's database.
MIGRATION_LOCK = 0x6D6C666C6F77
DENIED_STATUSES = (401, 403)
# Defaults that the operator may override: no telemetry, and a server that is down is noticed in
# seconds (MLflow's own limits add up to many minutes).
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "2",
}
# MLflow has circular imports: two threads that import it at once see half-made modules.
_import_lock = threading.Lock()


def connect(tracking_uri: str) -> Any:
    """Make MLflow's `ModelRegistryClient`, and on Postgres its tables.

    Takes about a second (three for the first on an empty database). Raises RegistryUnavailable or
    RegistryDenied.
    """
    with _migrating(tracking_uri):
        client = _imported()[0]
        # MLflow logs an error before it raises it: the exception is enough.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        uri = _with_timeout(tracking_uri)
        with outages(tracking_uri):
            return client(uri, uri)


def _imported() -> tuple[Any, type[Exception]]:
    """MLflow's registry client and exception. Raises RegistryUnavailable if it is not installed."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with _import_lock:
        try:
            from mlflow.exceptions import MlflowException
            from mlflow.tracking._model_registry.client import ModelRegistryClient
        except ImportError as error:
            raise RegistryUnavailable(f"the package {error.name} is not installed") from None
    return ModelRegistryClient, MlflowException


@contextmanager
def _migrating(tracking_uri: str) -> Iterator[None]:
    """On Postgres, hold a lock while MLflow makes its tables; fails fast if Postgres is down."""
    if tracking_uri.startswith("http"):
        yield
        return
    try:
        connection = psycopg2.connect(
            tracking_uri.replace("+psycopg2", "", 1), connect_timeout=CONNECT_SECONDS
        )
    except psycopg2.OperationalError as error:
        reason = str(error).strip().splitlines()[-1]
        kind = RegistryDenied if "password authentication failed" in reason else RegistryUnavailable
        raise kind(f"{shown(tracking_uri)}: {reason}") from None
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        yield
    finally:
        connection.close()


@contextmanager
def outages(tracking_uri: str) -> Iterator[None]:
    """Turn MLflow's exceptions into RegistryError, RegistryUnavailable or RegistryDenied.

    The original is left out of tracebacks: it may quote an address with its password.
    """
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    mlflow_error: Any = _imported()[1]
    try:
        yield
    except mlflow_error as error:
        status = error.get_http_status_code()
        # MLflow reports most errors of its database as a bad request.
        from_database = isinstance(error.__cause__, SQLAlchemyError)
        text = f"{shown(tracking_uri)}: {_line(error)}"
        if status in DENIED_STATUSES:
            raise RegistryDenied(text) from None
        if status >= 500 or status == 429 or from_database:
            raise RegistryUnavailable(text) from None
        raise RegistryError(text) from None
    except (SQLAlchemyError, RequestException) as error:
        raise RegistryUnavailable(f"{shown(tracking_uri)}: {_line(error)}") from None


def code_of(error: BaseException) -> str:
    """The MLflow error code behind an error that `outages` raised."""
    return str(getattr(error.__context__, "error_code", ""))


def shown(tracking_uri: str) -> str:
    """The address without its user and password."""
    parts = urlsplit(tracking_uri)
    return f"MLflow at {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _with_timeout(tracking_uri: str) -> str:
    if tracking_uri.startswith("http") or "connect_timeout=" in tracking_uri:
        return tracking_uri
    separator = "&" if "?" in tracking_uri else "?"
    return f"{tracking_uri}{separator}connect_timeout={CONNECT_SECONDS}"


def _line(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.sub(r"://[^/\s@]+@", "://", line)[:300]
