"""Every environment variable of the product, read once into one frozen object.

A wrong value stops the process at start with one line that names the variable (`SettingsError`).
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024 * 1024
DATABASE_FORM = "postgresql://user:password@host:port/database"
REDIS_FORM = "redis://host:port/number"
MAX_JOB_SECONDS = 7 * 24 * 3600.0
REPOSITORY = Path(__file__).resolve().parent


class SettingsError(ValueError):
    """One or more variables hold a value that the product cannot run with."""


def _database_url(url: str) -> str:
    """Return `url` for psycopg2: SQLAlchemy 2.1 would read a bare `postgresql://` as psycopg 3."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("postgresql", "postgres", "postgresql+psycopg2"):
        raise ValueError(f"must look like {DATABASE_FORM}")
    parts = _parts(url, DATABASE_FORM)
    if not parts.path.strip("/"):
        raise ValueError(f"names no database: it must look like {DATABASE_FORM}")
    return f"postgresql+psycopg2://{rest}"


def _redis_url(url: str) -> str:
    parts = _parts(url, REDIS_FORM)
    number = parts.path.strip("/")
    if parts.scheme not in ("redis", "rediss") or (number and not number.isdigit()):
        raise ValueError(f"must look like {REDIS_FORM}")
    return url


def _parts(url: str, form: str) -> SplitResult:
    """The URL's parts. The message never repeats the URL: it may hold a password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(f"must look like {form}") from None
    return parts


class Settings(BaseSettings):
    """Field names are the variables' names in lower case. Sizes are in bytes, times in seconds."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    database_url: Annotated[str, AfterValidator(_database_url)] = (
        "postgresql://cyrex@127.0.0.1:5432/cyrex"
    )
    redis_url: Annotated[str, AfterValidator(_redis_url)] = "redis://127.0.0.1:6379/0"

    # A folder, or the name of a model on the Hugging Face hub (`org/name`).
    base_model_path: str = str(REPOSITORY / "base_model" / "cyrex-small")
    base_model_revision: str = "main"
    data_dir: Path = Path(".data")
    adapter_cache_dir: Path = Path(".data/adapters")
    model_registry_type: Literal["local"] = "local"
    model_registry_path: Path = Path(".data/registry")
    blob_dir: Path = Path(".data/blobs")
    work_dir: Path = Path(".data/work")

    max_body_bytes: int = Field(64 * MIB, ge=1024)
    max_training_examples: int = Field(200_000, ge=1)
    wait_seconds: float = Field(30.0, ge=0, le=300)
    web_threads: int = Field(128, ge=4)
    web_processes: int = Field(2, ge=1)

    jobs_in_broker: int = Field(64, ge=1)
    trainings_in_broker: int = Field(1, ge=1)
    max_new_tokens: int = Field(256, ge=1)
    job_seconds: float = Field(300.0, gt=0, le=MAX_JOB_SECONDS)

    engine_device: Literal["auto", "cpu", "cuda"] = "auto"
    engine_dtype: Literal["fp32", "bf16", "nf4"] = "fp32"
    engine_threads: int = Field(1, ge=1)
    engine_batch: int = Field(64, ge=1)
    engine_adapters: int = Field(64, ge=1)
    training_threads: int = Field(2, ge=1)

    flower_user: str = "operator"
    flower_password: str = ""
    ready_file: Path | None = Field(None, alias="CYREX_READY_FILE")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


def _lines(error: ValidationError) -> str:
    """Render pydantic's findings as one line, each with its variable's name."""
    found = []
    for item in error.errors(include_url=False):
        place = ".".join(str(part) for part in item["loc"]).upper()
        message = item["msg"].removeprefix("Value error, ")
        shown: Any = item.get("input")
        value = (
            f" (got {shown!r})" if place and isinstance(shown, str) and "URL" not in place else ""
        )
        found.append(f"{place}: {message}{value}" if place else message)
    return "; ".join(found)


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Read the environment once. Raises `SettingsError` with one line that names the variable."""
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(_lines(error)) from None


def settings_or_exit() -> Settings:
    """For a process's entry point: print the one line and leave with status 2."""
    try:
        return get_settings()
    except SettingsError as error:
        print(f"settings: {error}", file=sys.stderr)
        raise SystemExit(2) from None
