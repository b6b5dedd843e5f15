"""Secrets of tools at rest: Fernet (AES-128-CBC, HMAC-SHA-256) under the keys of TOOL_SECRETS_KEY.

The first key encrypts, all decrypt. To change keys: put a new one first, restart, run
`python -m cyrex.tools.sealing rotate`, and take the old one away. `new-key` prints a key.
"""

from __future__ import annotations

import json
import sys

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from cyrex.errors import Unavailable
from database.base import Json
from database.models import CompanyTool
from database.session import UnsafeDatabaseRole, database_complaint, operator_session
from settings import get_settings, settings_or_exit, words_of


def _keys() -> MultiFernet:
    keys = words_of(get_settings().tool_secrets_key)
    if not keys:
        raise Unavailable(
            "no_secrets_key",
            "secrets of tools cannot be kept here: the operator has not set TOOL_SECRETS_KEY",
        )
    return MultiFernet([Fernet(key) for key in keys])


def encrypt(company_id: str, secrets: Json) -> bytes | None:
    """`secrets` for storage; None for none. Raises `Unavailable` when there is no key."""
    if not secrets:
        return None
    # The company is encrypted with them: its bytes are void in another company's row.
    content = json.dumps({"company_id": company_id, "secrets": secrets})
    return _keys().encrypt(content.encode())


def decrypt(company_id: str, stored: bytes | None) -> Json:
    """The secrets. Raises `Unavailable` when no key opens them."""
    if stored is None:
        return {}
    try:
        content = json.loads(_keys().decrypt(stored))
    except InvalidToken:
        content = {}
    if content.get("company_id") != company_id:
        raise Unavailable(
            "secrets_unreadable",
            "the tool's secrets cannot be read: TOOL_SECRETS_KEY has changed; register it again",
        )
    found: Json = content["secrets"]
    return found


def rotate(session: Session) -> int:
    """Encrypt every tool's secrets under the first key. `session` is an operator's."""
    keys = _keys()
    rows = session.scalars(
        select(CompanyTool).where(CompanyTool.secrets.is_not(None)).with_for_update()
    ).all()
    for row in rows:
        assert row.secrets is not None
        row.secrets = keys.rotate(row.secrets)
    return len(rows)


def main(arguments: list[str]) -> int:
    match arguments:
        case ["new-key"]:
            print(Fernet.generate_key().decode())
        case ["rotate"]:
            settings_or_exit()
            try:
                with operator_session() as session:
                    print(f"{rotate(session)} tools now use the first key")
            except InvalidToken:
                print("a tool's secrets open with no key: nothing was changed", file=sys.stderr)
                return 1
            except Unavailable as error:
                print(error.message, file=sys.stderr)
                return 1
            except (OperationalError, UnsafeDatabaseRole) as error:
                print(database_complaint(error), file=sys.stderr)
                return 1
        case _:
            print("usage: python -m cyrex.tools.sealing new-key | rotate", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
