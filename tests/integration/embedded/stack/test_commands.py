"""`python -m embedded`, from the outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from embedded import Servers
from embedded.stack.options import REPOSITORY
from embedded.supervisor import kernel
from tests.support.stacks import ELSEWHERE, TABLES, left

ENVIRONMENT = {**os.environ, "DATABASE_URL": "", "REDIS_URL": ""}
SERVERS = ("--processes", "servers")


def embedded(
    folder: Path, command: str, *arguments: str, environment: dict[str, str] = ENVIRONMENT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "embedded", command, "--data-dir", str(folder), *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_run_gives_the_command_the_stack_and_passes_on_its_status(tmp_path: Path) -> None:
    script = "python -c \"import os, psycopg2; psycopg2.connect(os.environ['DATABASE_URL'])\" && "
    script += "echo here && exit 7"
    done = embedded(tmp_path, "run", *SERVERS, "--", "sh", "-c", script)
    assert done.returncode == 7, done.stderr
    assert done.stdout == "here\n"
    assert "postgres   ready" in done.stderr
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("command", "status"), [(("sh", "-c", "kill -9 $$"), 137), (("/no/such/program",), 127)]
)
def test_run_with_a_command_that_dies(
    tmp_path: Path, command: tuple[str, ...], status: int
) -> None:
    done = embedded(tmp_path, "run", *SERVERS, "--", *command, environment=WITHOUT_SERVERS)
    assert done.returncode == status, done.stderr
    assert left(tmp_path) == []


WITHOUT_SERVERS = {**os.environ, **ELSEWHERE}


@pytest.mark.parametrize(
    ("name", "value"), [("ENGINE_BATCH", "zero"), ("BLOB_DIR", f"{__file__}/blobs")]
)
def test_a_wrong_setting_is_one_line_before_anything_starts(
    tmp_path: Path, name: str, value: str
) -> None:
    wrong = {**ENVIRONMENT, name: value}
    done = embedded(tmp_path, "run", "--", "echo", "never", environment=wrong)
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"embedded: settings: {name}: " in done.stderr
    assert "postgres" not in done.stderr
    assert left(tmp_path) == []


def test_run_with_a_stack_that_does_not_start(tmp_path: Path) -> None:
    table = ("--table", f"{TABLES}:broken")
    done = embedded(tmp_path, "run", *table, "--", "echo", "never", environment=WITHOUT_SERVERS)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "broken does not start (exit status 1)" in done.stderr
    assert "no such luck" in done.stderr


def test_run_that_is_terminated_stops_command_and_stack(tmp_path: Path) -> None:
    runner = subprocess.Popen(
        [sys.executable, "-m", "embedded", "run", "--data-dir", str(tmp_path), *SERVERS]
        + ["--", "sh", "-c", "echo $$; exec sleep 1000"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert runner.stdout is not None
    command = int(runner.stdout.readline())
    runner.send_signal(signal.SIGTERM)
    assert runner.wait(30) == 128 + signal.SIGTERM
    assert not kernel.is_alive(command)
    assert left(tmp_path) == []


def test_env_and_status_of_a_running_stack(servers: Servers) -> None:
    root = servers.layout.root
    shown = embedded(root, "env")
    assert shown.returncode == 0
    script = shown.stdout + 'printf %s "$DATABASE_URL"'
    found = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == servers.environment["DATABASE_URL"]

    listed = embedded(root, "status")
    assert listed.returncode == 0
    lines = [line.split() for line in listed.stdout.splitlines()]
    assert lines[0][0] == "ready"
    assert [line[:3] for line in lines[2:]] == [
        [name, "ready", str(servers.pid(name))] for name in ("postgres", "valkey")
    ]


@pytest.mark.parametrize("command", ["env", "status"])
def test_env_and_status_of_no_stack(tmp_path: Path, command: str) -> None:
    done = embedded(tmp_path, command)
    assert done.returncode == 3
    assert f"no stack runs on {tmp_path}" in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_fresh_does_not_delete_what_it_did_not_make(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.touch()
    done = embedded(tmp_path, "up", *SERVERS, "--fresh")
    assert done.returncode == 1
    assert "no stack made it: not deleting it" in done.stdout
    assert precious.exists()


def test_the_data_folder_may_be_named_by_the_environment(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "embedded", "run", *SERVERS, "--", "sh", "-c", "echo $DATA_DIR"],
        env={**WITHOUT_SERVERS, "DATA_DIR": "here", "PYTHONPATH": str(REPOSITORY)},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == f"{tmp_path / 'here'}\n"


# The second keeps root's files and takes another number: it works below a folder of root's only.
BECOME_ORDINARY = (
    ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"),
    ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--"),
)
WHO = "import os, sys; print(os.getuid(), sys.version_info[:3], os.access(sys.argv[1], os.W_OK))"


@pytest.mark.skipif(os.geteuid() != 0, reason="is an ordinary user already")
@pytest.mark.parametrize("become", BECOME_ORDINARY, ids=lambda command: command[0])
def test_an_ordinary_user(open_folder: Path, become: tuple[str, ...]) -> None:
    if become[0] == "setpriv":
        os.chown(open_folder, kernel.NOBODY, kernel.NOBODY)
    try:
        command = [*become, sys.executable, "-c", WHO, str(open_folder)]
        seen = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        pytest.skip(f"no {become[0]} here")
    user, _, rest = seen.partition(" ")
    if rest != f"{sys.version_info[:3]} True":
        pytest.skip(f"{become[0]}: such a user cannot reach this Python")
    done = subprocess.run(
        [*become, sys.executable, "-m", "embedded", "run", "--data-dir", str(open_folder)]
        + [*SERVERS, "--", "sh", "-c", "id -u; ls $DATA_DIR/secrets"],
        env={**ENVIRONMENT, "HOME": "/nonexistent", "PYTHONPATH": str(REPOSITORY)},
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [user, "database", "postgres", "valkey"]
    assert int(user) != 0
    assert left(open_folder) == []
