from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cyrex.host.work_dirs import sweep, work_dir
from tests.support.environment import forget_settings


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORK_DIR", str(tmp_path))
    forget_settings()
    return tmp_path


def test_a_folder_is_empty_and_goes_with_its_step(root: Path) -> None:
    (root / "step").mkdir()
    (root / "step" / "old").touch()
    with work_dir("step") as folder:
        assert folder == root / "step"
        assert list(folder.iterdir()) == []
    assert list(root.iterdir()) == []


def test_a_folder_goes_when_its_step_fails(root: Path) -> None:
    with pytest.raises(ValueError, match="broken"), work_dir("step"):
        raise ValueError("broken")
    assert list(root.iterdir()) == []


def test_only_what_nobody_holds_is_swept(root: Path) -> None:
    (root / "dead").mkdir()
    (root / "file").touch()
    with work_dir("living") as folder:
        assert sweep() == ["dead"]
        assert folder.is_dir()
    assert sweep() == []
    assert (root / "file").exists()


def test_a_path_is_no_name() -> None:
    with pytest.raises(AssertionError, match="is a path"), work_dir("a/b"):
        pass


def test_a_killed_owner_leaves_what_a_sweep_removes(root: Path) -> None:
    code = (
        "import os, signal\nfrom cyrex.host.work_dirs import work_dir\n"
        "with work_dir('killed'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False, timeout=120)
    assert (root / "killed").is_dir()
    assert sweep() == ["killed"]
