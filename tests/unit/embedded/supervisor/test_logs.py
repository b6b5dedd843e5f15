from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from embedded.supervisor import logs


def test_start_keeps_the_last_run(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    for run in ("one", "two", "three"):
        logs.start(path)
        path.write_text(run)
    assert path.read_text() == "three"
    assert (tmp_path / "web.log.1").read_text() == "two"


def test_start_does_not_lose_the_last_run_to_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    (tmp_path / "web.log.1").write_text("why it failed")
    path.touch()
    logs.start(path)
    assert (tmp_path / "web.log.1").read_text() == "why it failed"


def test_a_process_writes_on_after_its_log_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    descriptor = logs.append_to(path)
    os.write(descriptor, b"a long line\n")
    assert not logs.limit(path, limit_bytes=100)
    assert logs.limit(path, limit_bytes=5)
    os.write(descriptor, b"the next\n")
    os.close(descriptor)
    assert path.read_bytes() == b"the next\n"
    assert (tmp_path / "web.log.1").read_bytes() == b"a long line\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_without_room_for_the_copy_nothing_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    path.write_bytes(b"a long line\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            logs.limit(path, limit_bytes=5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"a long line\n"
    assert not (tmp_path / "web.log.1").exists()


def test_tail(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    assert logs.tail(path) == ""
    path.write_bytes(b"\xff" * logs.TAIL_BYTES + b"\none\ntwo\nthree\n")
    assert logs.tail(path, lines=2) == "    two\n    three\n"
