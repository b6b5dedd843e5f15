from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.servers import ports
from embedded.servers.ports import LOOPBACK, NoFreePort, Ports


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A port that is in use, and the one that `web` prefers."""
    with socket.create_server((LOOPBACK, 0)) as held:
        number = held.getsockname()[1]
        monkeypatch.setitem(ports.PREFERRED, "web", number)
        yield number


def test_the_next_free_port_is_taken_and_remembered(tmp_path: Path, taken: int) -> None:
    first = Ports(tmp_path / "ports.json")
    note = first.reserve("web")
    assert first["web"] > taken
    assert note == f"port {taken} is taken: web uses {first['web']}"
    assert json.loads((tmp_path / "ports.json").read_text()) == {"web": first["web"]}


def test_a_remembered_port_is_used_without_a_word(tmp_path: Path, taken: int) -> None:
    first = Ports(tmp_path / "ports.json")
    first.reserve("web")
    number = first["web"]
    del first
    second = Ports(tmp_path / "ports.json")
    assert second.reserve("web") is None
    assert second["web"] == number


def test_two_stacks_never_choose_the_same(tmp_path: Path, taken: int) -> None:
    one, two = Ports(tmp_path / "one.json"), Ports(tmp_path / "two.json")
    one.reserve("web")
    two.reserve("web")  # nothing listens yet on the first one's
    assert one["web"] != two["web"]


def test_nothing_free(tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "TRIES", 1)
    with pytest.raises(NoFreePort, match=f"web: no free port from {taken} to {taken}"):
        Ports(tmp_path / "ports.json").reserve("web")


def test_servers_stay_below_the_ports_of_outgoing_connections(tmp_path: Path) -> None:
    chosen = Ports(tmp_path / "ports.json")
    for name in ports.SERVERS:
        assert chosen.reserve(name) is None
        assert 1024 < chosen[name] < 32768


def test_a_file_that_was_left_empty_is_no_obstacle(tmp_path: Path) -> None:
    remembered = tmp_path / "ports.json"
    remembered.touch()
    ports = Ports(remembered)
    ports.reserve("postgres")
    assert Ports(remembered)["postgres"] == ports["postgres"]
