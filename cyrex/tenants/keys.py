"""API keys: `cx_<prefix>_<secret>`, kept as the SHA-256 of the secret.

`python -m cyrex.tenants.keys operator --file PATH` makes sure that PATH holds a valid operator key;
`operators` lists these keys by their prefixes; `revoke PREFIX` ends one of them, or a company's.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import os
import re
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import func, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from cyrex.errors import Conflict
from cyrex.tenants.service import count_locked
from database.models import ApiKey
from database.session import (
    PreparedStatement,
    UnsafeDatabaseRole,
    database_complaint,
    keyless_statement,
    operator_session,
)
from settings import settings_or_exit

Scope = Literal["operator", "company"]

PREFIX_BYTES = 6
SECRET_BYTES = 24
PRIVATE = 0o600
# The most valid keys of a company, and the most keys in a list.
MAX_KEYS = 100
MAX_LISTED = 500
KEY = re.compile(r"cx_([0-9a-f]{12})_([0-9a-f]{48})")
FIND = PreparedStatement(
    "find_key",
    {"prefix": "text"},
    "SELECT secret_sha256, scope, company_id FROM find_api_key(%(prefix)s)",
)


@dataclass(frozen=True)
class Principal:
    """The caller. `company_id` is None for an operator."""

    scope: Scope
    company_id: str | None
    prefix: str


def _digest(secret: str) -> str:
    # A random secret of 192 bits needs no slow hash.
    return hashlib.sha256(secret.encode()).hexdigest()


def issue_key(session: Session, scope: Scope, company_id: str | None, name: str = "") -> str:
    """Create a key and return it whole: it cannot be shown again.

    Raises `Conflict` when the company has as many as it may.
    """
    if company_id is not None:
        _require_room(session, company_id)
    prefix, secret = secrets.token_hex(PREFIX_BYTES), secrets.token_hex(SECRET_BYTES)
    session.add(
        ApiKey(
            prefix=prefix,
            secret_sha256=_digest(secret),
            scope=scope,
            company_id=company_id,
            name=name,
        )
    )
    session.flush()
    return f"cx_{prefix}_{secret}"


def _require_room(session: Session, company_id: str) -> None:
    if count_locked(session, ApiKey, company_id, ApiKey.revoked_at.is_(None)) >= MAX_KEYS:
        raise Conflict(
            "too_many_api_keys", f"a company may have {MAX_KEYS} live API keys; revoke one first"
        )


def authenticate(key: str) -> Principal | None:
    """The caller that a key belongs to, in one round trip. None: unknown, revoked or malformed."""
    matched = KEY.fullmatch(key)
    if matched is None:
        return None
    found = keyless_statement(FIND, {"prefix": matched[1]})
    if found is None:
        return None
    secret_sha256, scope, company_id = found
    if not hmac.compare_digest(secret_sha256, _digest(matched[2])):
        return None
    return Principal(scope, company_id, matched[1])


def list_keys(session: Session, company_id: str | None) -> list[ApiKey]:
    """Keys in the order of their creation: the valid ones, and the newest of the others.

    `company_id` None: the operators'.
    """
    query = select(ApiKey).where(ApiKey.company_id == company_id)
    query = query.order_by(ApiKey.revoked_at.is_not(None), ApiKey.created_at.desc())
    return sorted(session.scalars(query.limit(MAX_LISTED)), key=lambda key: key.created_at)


def revoke_key(session: Session, prefix: str, company_id: str | None = None) -> bool:
    """Revoke a key, of `company_id` if given. False: there is no such live key."""
    wanted = [ApiKey.prefix == prefix, ApiKey.revoked_at.is_(None)]
    if company_id is not None:
        wanted.append(ApiKey.company_id == company_id)
    done = session.execute(
        update(ApiKey).where(*wanted).values(revoked_at=func.now()).returning(ApiKey.prefix)
    )
    return done.first() is not None


def ensure_operator_key(path: Path) -> None:
    """Leave a valid operator key in `path`, readable by its owner only."""
    if path.is_file():
        path.chmod(PRIVATE)
        principal = authenticate(path.read_bytes().decode(errors="replace").strip())
        if principal is not None and principal.scope == "operator":
            return
    with operator_session() as session:
        key = issue_key(session, "operator", None, name=path.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE)
    with os.fdopen(descriptor, "w") as file:
        file.write(key + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m cyrex.tenants.keys", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("operator").add_argument("--file", type=Path, required=True)
    commands.add_parser("operators")
    commands.add_parser("revoke").add_argument("prefix", help="as in cx_PREFIX_…")
    given = parser.parse_args(arguments)
    settings_or_exit()
    try:
        return _run(given)
    except (OperationalError, UnsafeDatabaseRole) as error:
        print(database_complaint(error), file=sys.stderr)
        return 1


def _run(given: argparse.Namespace) -> int:
    match given.command:
        case "operator":
            ensure_operator_key(given.file)
        case "operators":
            with operator_session() as session:
                for key in list_keys(session, None):
                    ended = f"revoked {key.revoked_at:%F %T}" if key.revoked_at else "valid"
                    print(f"{key.prefix}  made {key.created_at:%F %T}  {ended}  {key.name}")
        case _:
            with operator_session() as session:
                if not revoke_key(session, given.prefix):
                    print(f"there is no valid key {given.prefix}", file=sys.stderr)
                    return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
