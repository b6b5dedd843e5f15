from __future__ import annotations

import os
from pathlib import Path

import pytest

from embedded.layout import DataFolderError, Layout, write_private
from embedded.supervisor import state


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout.at(tmp_path / "data")
    made.make_folders()
    return made


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Layout.at("here").log("web") == tmp_path / "here" / "logs" / "web.log"


def test_a_secret_is_made_once_and_is_its_owners_only(layout: Layout) -> None:
    first = layout.secret("valkey")
    assert len(first) >= 32
    assert layout.secret("valkey") == first != layout.secret("database")
    assert mode(layout.secrets / "valkey") == 0o600
    assert [mode(folder) for folder in (layout.secrets, layout.run, layout.logs)] == [0o700] * 3


def test_a_private_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old and open")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert mode(path) == 0o600
    assert os.listdir(tmp_path) == ["file"]


def test_the_lock_admits_one(layout: Layout) -> None:
    assert not layout.is_locked()
    with layout.lock():
        assert layout.is_locked()
        with (
            pytest.raises(DataFolderError, match=f"supervisor: process {os.getpid()}"),
            layout.lock(),
        ):
            pass
    assert not layout.is_locked()
    with layout.lock():
        assert layout.is_locked()


def test_asking_for_a_lock_makes_no_folder(tmp_path: Path) -> None:
    assert not Layout.at(tmp_path / "none").is_locked()
    assert not (tmp_path / "none").exists()


def test_forget_empties_a_folder_of_ours(layout: Layout, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    layout.ports.write_text("{}")
    layout.operator_key.write_text("key")
    (layout.root / "blobs").symlink_to(elsewhere)
    with layout.lock():
        layout.forget()
    assert os.listdir(layout.root) == ["run"]
    assert (elsewhere / "kept").exists()


@pytest.mark.parametrize("exists", [False, True])
def test_forget_takes_a_folder_that_was_made_for_a_stack(tmp_path: Path, exists: bool) -> None:
    root = tmp_path / "new"
    if exists:
        root.mkdir()
    layout = Layout.at(root)
    layout.make_folders()
    with layout.lock():
        layout.forget()
    assert os.listdir(root) == ["run"]


def test_forget_refuses_a_folder_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    layout = Layout.at(tmp_path)
    with layout.lock(), pytest.raises(DataFolderError, match=r"holds 'thesis\.txt'"):
        layout.forget()
    assert (tmp_path / "thesis.txt").exists()


def test_a_state_that_was_left_empty_is_none(tmp_path: Path) -> None:
    layout = Layout.at(tmp_path)
    layout.make_folders()
    assert state.read(layout) is None
    layout.state.touch()
    assert state.read(layout) is None


def test_a_password_that_was_left_empty_is_made_anew(tmp_path: Path) -> None:
    layout = Layout.at(tmp_path)
    layout.make_folders()
    (layout.secrets / "valkey").touch()
    made = layout.secret("valkey")
    assert len(made) >= 32
    assert layout.secret("valkey") == made
