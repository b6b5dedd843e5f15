from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from modelkit.durable import (
    copy_synced,
    locked,
    locked_folder,
    make_folder,
    open_plain,
    sha256_of,
    sync_tree,
    write_atomic,
)

ABC_SHA256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_only_a_regular_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    with open_plain(tmp_path / "file") as stream:
        assert stream.read() == b"abc"
    for name, number in (("link", errno.ELOOP), ("pipe", errno.EINVAL)):
        with pytest.raises(OSError, match=r".") as refused:
            open_plain(tmp_path / name)
        assert refused.value.errno == number


def test_a_copy_tells_its_size_and_hash_and_replaces_nothing(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"abc")
    with open_plain(source) as stream:
        assert copy_synced(stream, tmp_path / "copy") == (3, ABC_SHA256)
    with open_plain(tmp_path / "copy") as stream:
        assert sha256_of(stream) == ABC_SHA256
    with open_plain(source) as stream, pytest.raises(FileExistsError):
        copy_synced(stream, tmp_path / "copy")


def test_a_file_is_replaced_and_nothing_else_stays(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", b"old")
    write_atomic(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_a_replacement_that_fails_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    with pytest.raises(OSError, match="place"):
        write_atomic(tmp_path / "place", b"data")
    assert os.listdir(tmp_path) == ["place"]


def test_a_tree_with_a_link_is_not_synced(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    sync_tree(tmp_path)
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(OSError, match="link"):
        sync_tree(tmp_path)


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with locked(tmp_path / "lock"):
            order.append("second")

    thread = threading.Thread(target=second)
    with locked(tmp_path / "lock"):
        thread.start()
        thread.join(0.1)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_who_waited_for_a_folder_that_was_removed_gets_a_new_one(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    entered = threading.Event()

    def second() -> None:
        with locked_folder(folder):
            assert folder.is_dir()
            entered.set()

    thread = threading.Thread(target=second)
    with locked_folder(folder):
        thread.start()
        thread.join(0.1)
        assert not entered.is_set()
        folder.rmdir()
    thread.join(10)
    assert entered.is_set()
