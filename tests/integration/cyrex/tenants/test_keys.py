"""API keys: shown once, kept as a hash, found by prefix, gone when revoked."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select

from cyrex.errors import Conflict
from cyrex.tenants import keys
from database.models import ApiKey
from database.session import company_session, operator_session
from embedded import Servers
from tests.support import rows

pytestmark = pytest.mark.usefixtures("database_url")

SHAPE = re.compile(r"cx_([0-9a-f]{12})_([0-9a-f]{48})")


def issued(company_id: str | None, name: str = "") -> str:
    with operator_session() as session:
        scope: keys.Scope = "company" if company_id else "operator"
        return keys.issue_key(session, scope, company_id, name)


whose = keys.authenticate


def test_a_key_says_whose_it_is() -> None:
    acme = rows.company()
    key = issued(acme)
    matched = SHAPE.fullmatch(key)
    assert matched
    assert whose(key) == keys.Principal("company", acme, matched[1])
    operator = issued(None)
    assert whose(operator) == keys.Principal("operator", None, operator.split("_")[1])


def test_only_the_hash_of_the_secret_is_stored() -> None:
    key = issued(rows.company(), "ci")
    _, prefix, secret = key.split("_")
    row = rows.get(ApiKey, prefix)
    assert row.secret_sha256 == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in str(rows.columns(row))
    assert row.name == "ci"


def test_a_wrong_key_is_nobodys() -> None:
    key = issued(rows.company())
    _, prefix, secret = key.split("_")
    other = "0" if secret[-1] != "0" else "1"
    for wrong in (
        f"cx_{prefix}_{secret[:-1]}{other}",
        f"cx_{'0' * 12}_{secret}",
        f"cx_{prefix}_{secret[:-1]}",
        f"cx_{prefix}_{secret}0",
        key.upper(),
        f" {key}",
        f"{key}\n",
        prefix,
        secret,
        "",
        "cx__",
        "x" * 10_000,
        f"cx_{prefix}_{hashlib.sha256(secret.encode()).hexdigest()[:48]}",
    ):
        assert whose(wrong) is None, wrong
    assert whose(key) is not None


def test_every_key_is_its_own() -> None:
    acme = rows.company()
    made = {issued(acme) for _ in range(20)}
    assert len({key.split("_")[1] for key in made}) == 20
    assert len({key.split("_")[2] for key in made}) == 20
    with company_session(acme, "cyrex_web") as session:
        listed = keys.list_keys(session, acme)
    assert {row.prefix for row in listed} == {key.split("_")[1] for key in made}
    assert [row.created_at for row in listed] == sorted(row.created_at for row in listed)


def test_a_revoked_key_is_nobodys_for_good() -> None:
    acme = rows.company()
    key, kept = issued(acme), issued(acme)
    with operator_session() as session:
        assert keys.revoke_key(session, key.split("_")[1])
    assert whose(key) is None
    assert whose(kept) is not None
    with operator_session() as session:
        assert not keys.revoke_key(session, key.split("_")[1]), "it was revoked before"
        assert not keys.revoke_key(session, "0" * 12)


def test_a_company_revokes_its_own_keys_alone() -> None:
    acme, globex = rows.company(), rows.company("globex")
    key = issued(acme)
    prefix = key.split("_")[1]
    with operator_session() as session:
        assert not keys.revoke_key(session, prefix, globex)
    with company_session(globex, "cyrex_web") as session:
        assert not keys.revoke_key(session, prefix)
    assert whose(key) is not None
    with company_session(acme, "cyrex_web") as session:
        assert keys.revoke_key(session, prefix, acme)
    assert whose(key) is None


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def count_operator_keys() -> int:
    with operator_session() as session:
        return len(session.scalars(select(ApiKey).where(ApiKey.scope == "operator")).all())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "operator.key"


def test_the_operators_key_is_made_once_and_for_its_owner_alone(path: Path) -> None:
    keys.ensure_operator_key(path)
    key = path.read_text().strip()
    principal = whose(key)
    assert principal is not None
    assert principal.scope == "operator"
    assert mode_of(path) == 0o600
    count = count_operator_keys()
    keys.ensure_operator_key(path)
    assert path.read_text().strip() == key
    assert count_operator_keys() == count


@pytest.mark.parametrize("old", ["revoked", "a company's", "not a key at all", "not text"])
def test_a_file_without_a_valid_operators_key_is_replaced(path: Path, old: str) -> None:
    keys.ensure_operator_key(path)
    key = path.read_text().strip()
    if old == "revoked":
        with operator_session() as session:
            keys.revoke_key(session, key.split("_")[1])
    elif old == "a company's":
        path.write_text(issued(rows.company()))
    else:
        path.write_bytes(b"hello" if old == "not a key at all" else b"\xff\xfe")
    keys.ensure_operator_key(path)
    fresh = path.read_text().strip()
    assert fresh != key
    principal = whose(fresh)
    assert principal is not None
    assert principal.scope == "operator"


@pytest.mark.parametrize("valid", [True, False])
def test_a_file_that_others_can_read_is_closed_to_them(path: Path, valid: bool) -> None:
    keys.ensure_operator_key(path)
    if not valid:
        path.write_text("old")
    os.chmod(path, 0o644)
    keys.ensure_operator_key(path)
    assert mode_of(path) == 0o600


def test_a_company_has_so_many_live_keys_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MAX_KEYS", 2)
    acme, globex = rows.company(), rows.company()
    first, _second = issued(acme), issued(acme)
    with pytest.raises(Conflict) as refused:
        issued(acme)
    assert refused.value.code == "too_many_api_keys"
    issued(globex)
    issued(None)
    with operator_session() as session:
        assert keys.revoke_key(session, first.split("_")[1], acme)
    assert whose(issued(acme)) is not None


def test_revoked_keys_do_not_make_the_list_longer_and_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keys, "MAX_LISTED", 3)
    acme = rows.company()
    prefixes = [issued(acme).split("_")[1] for _ in range(5)]
    with operator_session() as session:
        for prefix in prefixes[1:]:
            assert keys.revoke_key(session, prefix, acme)
        listed = [row.prefix for row in keys.list_keys(session, acme)]
    assert listed == [prefixes[0], *prefixes[3:]]


def test_an_operators_key_can_be_listed_and_revoked_by_hand(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert keys.main(["operator", "--file", str(path)]) == 0
    key = path.read_text().strip()
    prefix = key.split("_")[1]
    companys = issued(rows.company()).split("_")[1]
    assert keys.main(["operators"]) == 0
    listed = capsys.readouterr().out
    assert key not in listed
    assert companys not in listed
    assert f"{prefix}  made " in listed
    assert line_of(prefix, listed).endswith("valid  operator.key")

    assert keys.main(["revoke", prefix]) == 0
    assert whose(key) is None
    assert keys.main(["operators"]) == 0
    assert "revoked 20" in line_of(prefix, capsys.readouterr().out)
    assert keys.main(["revoke", prefix]) == 1
    assert capsys.readouterr().err == f"there is no valid key {prefix}\n"


def line_of(prefix: str, text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(prefix))


@pytest.mark.parametrize("command", ["cyrex.tenants.keys operators", "cyrex.tools.sealing rotate"])
@pytest.mark.parametrize("unfit", ["away", "a superuser's"])
def test_a_database_that_will_not_do_is_one_line(
    servers: Servers, command: str, unfit: str
) -> None:
    url = "postgresql://cyrex@127.0.0.1:1/x" if unfit == "away" else servers.superuser_url()
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        env={**os.environ, "DATABASE_URL": url, "TOOL_SECRETS_KEY": "A" * 43 + "="},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("DATABASE_URL: ")
