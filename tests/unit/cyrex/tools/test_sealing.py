"""Secrets at rest: under keys that can be changed, for one company only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.fernet import Fernet

from cyrex.errors import Unavailable
from cyrex.tools.sealing import decrypt, encrypt, main
from settings import get_settings
from tests.support.tool_server import variables

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


@pytest.fixture(autouse=True)
def one_key() -> Iterator[None]:
    with variables(TOOL_SECRETS_KEY=OLD):
        yield


def test_what_is_stored_can_be_read_and_shows_nothing() -> None:
    stored = encrypt("acme", {"auth": "t0p-secret"})
    assert stored is not None
    assert b"t0p" not in stored
    assert decrypt("acme", stored) == {"auth": "t0p-secret"}
    assert encrypt("acme", {"auth": "t0p-secret"}) != stored
    assert encrypt("acme", {}) is None
    assert decrypt("acme", None) == {}


def test_one_companys_bytes_are_void_in_anothers_row() -> None:
    with pytest.raises(Unavailable, match="cannot be read"):
        decrypt("globex", encrypt("acme", {"auth": "x"}))


def test_keys_can_be_changed() -> None:
    stored = encrypt("acme", {"auth": "x"})
    with variables(TOOL_SECRETS_KEY=f"{NEW}, {OLD}"):
        assert decrypt("acme", stored) == {"auth": "x"}
        newer = encrypt("acme", {"auth": "y"})
    with variables(TOOL_SECRETS_KEY=NEW):
        assert decrypt("acme", newer) == {"auth": "y"}
        with pytest.raises(Unavailable, match="TOOL_SECRETS_KEY has changed"):
            decrypt("acme", stored)


def test_without_a_key_there_are_no_secrets() -> None:
    with variables(TOOL_SECRETS_KEY=""):
        assert encrypt("acme", {}) is None
        with pytest.raises(Unavailable, match="has not set TOOL_SECRETS_KEY"):
            encrypt("acme", {"auth": "x"})


def test_a_new_key_is_one_that_the_settings_take(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-key"]) == 0
    key = capsys.readouterr().out.strip()
    with variables(TOOL_SECRETS_KEY=key):
        assert get_settings().tool_secrets_key == key
    assert main(["help"]) == 2
