"""Which base model is served, by name and by folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cyrex.adapters.base_model import (
    base_model_dir,
    base_sha256,
    name_of,
    open_base,
    require_base,
    served_name,
)
from cyrex.errors import UserError
from settings import SettingsError, get_settings


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """`serve(path)` makes BASE_MODEL_PATH name something else."""

    def forget() -> None:
        for cached in (get_settings, base_model_dir, base_sha256):
            cached.cache_clear()

    def change(path: str) -> None:
        monkeypatch.setenv("BASE_MODEL_PATH", path)
        forget()

    yield change
    monkeypatch.undo()
    forget()


def test_a_model_is_called_by_its_name_and_not_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    assert name_of(str(tmp_path / "small")) == "small"
    assert name_of("/elsewhere/small") == "small"
    assert name_of("small") == "small"
    assert name_of("mistralai/Mistral-7B-v0.1") == "mistralai/Mistral-7B-v0.1"


def test_the_served_model_is_found_wherever_it_lies() -> None:
    folder = base_model_dir()
    assert (folder / "config.json").is_file()
    assert require_base(served_name()) == folder
    assert require_base(f"/another/machine/{served_name()}") == folder
    with pytest.raises(UserError, match="other") as refused:
        require_base("other")
    assert refused.value.param == "base_model"


@pytest.mark.parametrize("path", ["/nowhere/at/all", "./model", "no-such-folder"])
def test_a_model_that_is_not_there_names_the_variable(
    path: str, serve: Callable[[str], None]
) -> None:
    serve(path)
    with pytest.raises(SettingsError, match="BASE_MODEL_PATH") as refused:
        base_model_dir()
    assert path in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_folder_without_a_model_names_the_variable(
    tmp_path: Path, serve: Callable[[str], None]
) -> None:
    serve(str(tmp_path))
    with pytest.raises(SettingsError, match=r"BASE_MODEL_PATH: .*config\.json is missing"):
        base_model_dir()


def test_a_template_that_cannot_work_is_said_by_name(
    tmp_path: Path, serve: Callable[[str], None]
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(base_model_dir(), folder)
    (folder / "chat_template.jinja").write_text("{{ raise_exception('never') }}")
    serve(str(folder))
    with pytest.raises(UserError, match="refuses one question with its answer") as refused:
        base_sha256()
    assert (refused.value.code, refused.value.param) == ("unfit_chat_template", "base_model")


def test_reasoning_is_part_of_the_served_bases_identity(
    monkeypatch: pytest.MonkeyPatch, serve: Callable[[str], None]
) -> None:
    plain, path = base_sha256(), str(base_model_dir())
    monkeypatch.setenv("BASE_MODEL_THINKING", "true")
    serve(path)
    assert base_sha256() != plain and open_base().template.enable_thinking
