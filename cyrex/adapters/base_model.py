"""Where the base model's files are on this machine."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from cyrex.errors import UserError
from cyrex.logs import one_line
from helox.base import Base
from helox.base_facts import BaseFacts, base_facts
from helox.control import ControlTokens, control_of
from helox.errors import UserError as BadBase
from settings import SettingsError, get_settings

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
# Weights as safetensors only; code and pickles in a repository are never fetched.
HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model"]


@lru_cache(maxsize=1)
def base_model_dir() -> Path:
    """The folder of BASE_MODEL_PATH: itself a folder, or a hub name whose files are fetched once.

    Raises `SettingsError`, naming the variable, when there is no model.
    """
    settings = get_settings()
    named = settings.base_model_path
    folder = Path(named)
    if not folder.is_dir() and HUB_NAME.fullmatch(named) and not named.startswith("."):
        folder = _from_hub(named, settings.base_model_revision)
    if not (folder / "config.json").is_file():
        raise SettingsError(f"BASE_MODEL_PATH: no model in {named}: config.json is missing")
    return folder


@lru_cache(maxsize=1)
def base_sha256() -> str:
    """The identity of the base model's files on this machine. Reads all of them, once a process."""
    return open_base().sha256


def open_base() -> Base:
    """The base model's files, checked. Raises `UserError` saying what is wrong with them."""
    try:
        return Base.open(base_model_dir(), get_settings().base_model_thinking)
    except BadBase as error:
        raise UserError(error.code, error.message, param="base_model") from error


def served_facts() -> BaseFacts | None:
    """What settings must know of the base model; None where its files are not on this machine."""
    return _facts_of(get_settings().base_model_path)


def served_control() -> ControlTokens:
    """The control tokens of the base model, which are taken out of answers."""
    facts = served_facts()
    return control_of(facts.control_tokens if facts is not None else ())


@lru_cache(maxsize=4)
def _facts_of(named: str) -> BaseFacts | None:
    folder = Path(named)
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        return None  # what is wrong with it, opening it says
    try:
        return base_facts(folder)
    except BadBase as error:
        raise UserError(error.code, error.message, param="base_model") from error


def _from_hub(name: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=HUB_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise SettingsError(
            f"BASE_MODEL_PATH: {name!r} is no folder here and could not be fetched:"
            f" {one_line(error)}"
        ) from error


def name_of(named: str) -> str:
    """A base model's name in rows and answers: a hub name as it is, the last part of a folder.

    The folder's path differs from machine to machine.
    """
    if HUB_NAME.fullmatch(named) and not named.startswith(".") and not Path(named).is_dir():
        return named
    return Path(named).name


def served_name() -> str:
    """The name of the base model that is served here."""
    return name_of(get_settings().base_model_path)


def require_served(named: str, hint: str = "") -> None:
    """Raises `UserError` if another base model than `named` is served."""
    if name_of(named) != served_name():
        raise UserError(
            "unknown_base_model",
            f"base_model: {named!r} is not served here{hint}",
            param="base_model",
        )


def require_base(named: str) -> Path:
    """The folder of the base model a row names. Raises `UserError` if another one is served."""
    require_served(named)
    return base_model_dir()
