"""The two servers: who may connect, what they keep, what they recover from."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import redis

from embedded import Servers, Stack, StackError
from embedded.layout import Layout
from embedded.servers import postgres
from embedded.servers.ports import Ports
from embedded.supervisor import kernel
from embedded.supervisor.process import SupervisedProcess
from tests.support.stacks import ELSEWHERE, left, wait_for

# Two or three on an idle machine.
START_SECONDS = 20.0
NOWHERE = {"DATABASE_URL": "", "REDIS_URL": ""}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    assert left(tmp_path) == []


def query(url: str, statement: str) -> Any:
    """The rows of a statement, in a transaction that commits."""
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else None
    finally:
        connection.close()


def valkey_of(stack: Stack) -> redis.Redis:
    return redis.Redis.from_url(stack.environment["REDIS_URL"], decode_responses=True)


def test_up_from_an_empty_folder_in_seconds(folder: Path) -> None:
    began = time.monotonic()
    with Servers(folder) as servers:
        took = time.monotonic() - began
        assert query(servers.environment["DATABASE_URL"], "SELECT 1") == [(1,)]
        assert valkey_of(servers).ping()
    assert took < START_SECONDS


def test_the_role_owns_its_database_and_is_bound_by_row_level_security(servers: Servers) -> None:
    url = servers.environment["DATABASE_URL"]
    assert query(
        url,
        "SELECT current_user, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolcanlogin"
        " FROM pg_roles WHERE rolname = current_user",
    ) == [("cyrex", False, False, True, False, True)]
    assert query(
        url, "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'cyrex'"
    ) == [("cyrex",)]
    assert query(url, "SHOW max_connections") == [("300",)]
    assert query(url, "SHOW listen_addresses") == [("127.0.0.1",)]
    assert query(
        url,
        "SELECT datcollate, pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'cyrex'",
    ) == [("C.UTF-8", "UTF8")]


def test_postgres_wants_the_password(servers: Servers) -> None:
    url = servers.environment["DATABASE_URL"]
    right = servers.layout.secret("database")
    for role in ("cyrex", "postgres"):
        wrong = url.replace(f"cyrex:{right}", f"{role}:wrong")
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(wrong)


def test_secrets_are_their_owners_only(servers: Servers) -> None:
    root = servers.layout.root
    secret = [root / "run" / "environment.json", root / "run" / "valkey.conf"]
    secret += (root / "secrets").iterdir()
    assert len(secret) == 5
    for path in secret:
        assert path.stat().st_mode & 0o777 == 0o600, path
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left(root)]
    for name in ("database", "postgres", "valkey"):
        assert not [line for line in commands if servers.layout.secret(name).encode() in line]


def test_data_and_ports_last(folder: Path) -> None:
    with Servers(folder) as first:
        environment = first.environment
        query(environment["DATABASE_URL"], "CREATE TABLE kept AS SELECT 7 AS number")
        valkey_of(first).xadd("stream", {"number": "7"})
    with Servers(folder) as second:
        assert second.environment == environment
        assert query(environment["DATABASE_URL"], "TABLE kept") == [(7,)]
        assert [entry for _, entry in valkey_of(second).xrange("stream")] == [{"number": "7"}]


def test_fresh_empties_the_folder(folder: Path) -> None:
    with Stack(folder, "servers", ELSEWHERE):
        (folder / "blobs").mkdir()
    with Stack(folder, "servers", ELSEWHERE, fresh=True):
        assert not (folder / "blobs").exists()


@pytest.mark.parametrize("name", ["postgres", "valkey"])
def test_a_killed_server_comes_back_with_its_data(folder: Path, name: str) -> None:
    with Servers(folder) as servers:
        url = servers.environment["DATABASE_URL"]
        query(url, "CREATE TABLE kept AS SELECT 7 AS number")
        valkey_of(servers).set("kept", "7")
        if name == "valkey":
            time.sleep(1.2)  # its file is synced every second
        servers.kill(name)
        servers.wait_ready(name, 20)
        assert query(url, "TABLE kept") == [(7,)]
        assert valkey_of(servers).get("kept") == "7"


def test_postgres_survives_the_death_of_the_whole_stack(folder: Path) -> None:
    servers = Servers(folder).start()
    query(servers.environment["DATABASE_URL"], "CREATE TABLE kept AS SELECT 7 AS number")
    # Everything at once, so that nobody tidies up.
    for pid in (servers.guard_pid, servers.supervisor_pid, *left(folder)):
        kernel.send(pid, signal.SIGKILL)
    servers.stop()
    lock = folder / "postgres" / "postmaster.pid"
    assert lock.exists()
    # By now the number in the lock file belongs to a stranger.
    lines = lock.read_text().splitlines()
    lock.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    with Servers(folder) as again:
        assert query(again.environment["DATABASE_URL"], "TABLE kept") == [(7,)]


def test_what_a_killed_initdb_left_is_made_anew(folder: Path) -> None:
    unfinished = folder / "postgres.new"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    with Servers(folder) as servers:
        assert query(servers.environment["DATABASE_URL"], "SELECT 1") == [(1,)]
    assert not unfinished.exists()


@pytest.mark.parametrize(
    ("variable", "present", "absent"),
    [("DATABASE_URL", "valkey", "postgres"), ("REDIS_URL", "postgres", "valkey")],
)
def test_a_server_that_is_given_is_not_started(
    folder: Path, variable: str, present: str, absent: str
) -> None:
    given = {**NOWHERE, variable: ELSEWHERE[variable]}
    with Stack(folder, "servers", given) as stack:
        assert stack.environment[variable] == ELSEWHERE[variable]
        assert stack.pid(present)
        assert not (folder / absent).exists()
        said = stack.layout.log("supervisor").read_text()
        assert f"{absent}: not started, {variable} is given" in said


def test_moves_to_the_next_port_when_its_own_is_taken(
    folder: Path, listen: Callable[[int], None]
) -> None:
    with Servers(folder) as first:
        port = Ports(first.layout.ports)["valkey"]
    listen(port)
    with Servers(folder) as second:
        moved = Ports(second.layout.ports)["valkey"]
        assert moved > port
        assert valkey_of(second).ping()
        said = second.layout.log("supervisor").read_text()
        assert f"port {port} is taken: valkey uses {moved}" in said


def test_a_cluster_of_another_version_is_refused_by_name(folder: Path) -> None:
    (folder / "postgres").mkdir()
    (folder / "postgres" / "PG_VERSION").write_text("12\n")
    with pytest.raises(StackError, match="was made by Postgres 12, and this is 18"):
        Servers(folder).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_root_without_user_namespaces_becomes_nobody(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "can_map_users", lambda: False)
    layout = Layout.at(open_folder)
    layout.make_folders()
    ports = Ports(layout.ports)
    ports.reserve("postgres")
    process = SupervisedProcess(
        postgres.spec(layout, ports), layout.log("postgres"), dict(os.environ)
    )
    process.start()
    try:
        assert wait_for(process.check, 20), layout.log("postgres").read_text()
        assert process.pid is not None
        assert Path(f"/proc/{process.pid}").stat().st_uid == kernel.NOBODY
        assert query(postgres.url(layout, ports["postgres"]), "SELECT 1") == [(1,)]
    finally:
        process.send(process.spec.stop_signal)
        process.ended(stopping=True)
    # The folder stays nobody's, so that is how the next start treats it.
    monkeypatch.undo()
    assert postgres.spec(layout, ports).identity is kernel.Identity.NOBODY
