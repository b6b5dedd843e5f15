"""Every environment variable of the product, read once into one frozen object.

A wrong value stops the process at start with one line that names the variable (`SettingsError`).
Longer than other modules: every variable stands in this one table, beside its check.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, AliasChoices, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024 * 1024
DATABASE_FORM = "postgresql://user:password@host:port/database"
REDIS_FORM = "redis://host:port/number"
MAX_DAYS = 36_500.0
# A number that means no limit: it fits wherever a 4-byte integer is expected.
MANY = 2_000_000_000
MOST_THREADS = 4096
MAX_JOB_SECONDS = 7 * 24 * 3600.0
REPOSITORY = Path(__file__).resolve().parent


class SettingsError(ValueError):
    """One or more variables hold a value that the product cannot run with."""


def _database_url(url: str) -> str:
    """Return `url` for psycopg2: SQLAlchemy 2.1 would read a bare `postgresql://` as psycopg 3."""
    scheme, separator, rest = url.partition("://")
    parts = urlsplit(f"//{rest}")
    if (
        not separator
        or scheme not in ("postgresql", "postgres", "postgresql+psycopg2")
        or not rest
        or not _has_port(parts)
    ):
        raise ValueError("must look like postgresql://user:password@host:port/database")
    return f"postgresql+psycopg2://{rest}"


def _redis_url(url: str) -> str:
    parts = urlsplit(url)
    number = parts.path.strip("/")
    if (
        parts.scheme not in ("redis", "rediss")
        or not _has_port(parts)
        or not (number.isdecimal() or not number)
    ):
        raise ValueError("must look like redis://host:port/number")
    return url


def _has_port(parts: SplitResult) -> bool:
    """True if the port is a number, or left out."""
    try:
        return parts.port is None or True
    except ValueError:
        return False


def _mlflow_uri(uri: str) -> str:
    """A server's address, or that of a database of MLflow's own (for psycopg2, as above)."""
    parts = urlsplit(uri)
    if not uri or (parts.scheme in ("http", "https") and parts.hostname and _has_port(parts)):
        return uri
    try:
        return _database_url(uri)
    except ValueError:
        raise ValueError(
            "must look like http://host:port or postgresql://user:password@host:port/mlflow"
        ) from None


def _http_url(url: str) -> str:
    parts = urlsplit(url)
    if url and not (parts.scheme in ("http", "https") and parts.hostname and _has_port(parts)):
        raise ValueError("must look like http://host:port")
    return url


def _bucket(name: str) -> str:
    if name and not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name):
        raise ValueError("must be 3 to 63 lower-case letters, digits, dots and hyphens")
    return name


def _prefix(name: str) -> str:
    if not re.fullmatch(r"(?!models(?:/|\Z))[\w.-]{1,64}(?:/[\w.-]{1,64}){0,7}", name, re.ASCII):
        raise ValueError("must be names of letters, digits, . _ - between slashes, not models")
    return name


def _place(url: str) -> tuple[str | None, int | None, str]:
    """The database that a URL means, whatever the user."""
    parts = urlsplit(url)
    return parts.hostname, parts.port or 5432, parts.path


# A name, or an address, perhaps with a port; an IPv6 address in brackets.
TOOL_HOST = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(?::\d{1,5})?")
FERNET_KEY_BYTES = 32


def words_of(text: str) -> list[str]:
    """The parts of a comma-separated value."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _tool_hosts(text: str) -> str:
    for entry in words_of(text.lower()):
        try:
            ipaddress.ip_network(entry)
        except ValueError as error:
            if "/" in entry or not TOOL_HOST.fullmatch(entry):
                raise ValueError(
                    f"{entry!r} is no host, host:port or network such as 10.1.0.0/16"
                ) from error
    return text


def _fernet_keys(text: str) -> str:
    for number, key in enumerate(words_of(text), start=1):
        try:
            size = len(base64.urlsafe_b64decode(key))
        except (binascii.Error, ValueError):
            size = 0
        if size != FERNET_KEY_BYTES:
            raise ValueError(
                f"key {number} is no Fernet key: {FERNET_KEY_BYTES} bytes in URL-safe base64"
            )
    return text


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
    # A base model that can reason before it answers does so. Adapters trained without it are then
    # refused, and the other way round: their prompts differ.
    base_model_thinking: bool = False
    data_dir: Path = Path(".data")
    adapter_cache_dir: Path = Path(".data/adapters")
    # Where adapters are registered. `mlflow` keeps their bytes in S3_BUCKET where one is given,
    # else in MODEL_REGISTRY_PATH.
    model_registry_type: Literal["mlflow", "s3", "local"] = "local"
    model_registry_path: Path = Path(".data/registry")
    # A server, or (no server needed) a Postgres database that is MLflow's alone.
    mlflow_tracking_uri: Annotated[str, AfterValidator(_mlflow_uri)] = ""
    # Empty: AWS itself.
    s3_endpoint_url: Annotated[str, AfterValidator(_http_url)] = ""
    s3_bucket: Annotated[str, AfterValidator(_bucket)] = ""
    # Neither given: what boto3 finds by itself (a profile, the machine's role).
    s3_access_key_id: str = Field(
        "", validation_alias=AliasChoices("s3_access_key_id", "aws_access_key_id")
    )
    s3_secret_access_key: str = Field(
        "",
        validation_alias=AliasChoices("s3_secret_access_key", "aws_secret_access_key"),
        repr=False,
    )
    s3_region: str = Field(
        "us-east-1", validation_alias=AliasChoices("s3_region", "aws_region", "aws_default_region")
    )
    # Where datasets, checkpoints and trained packages are: BLOB_DIR, or S3_BUCKET under a prefix,
    # which must be this installation's alone, as what no row names is deleted there.
    blob_store_type: Literal["local", "s3"] = "local"
    blob_dir: Path = Path(".data/blobs")
    blob_s3_prefix: Annotated[str, AfterValidator(_prefix)] = "blobs"
    # A blob that no row names is deleted when nobody has stored it for so long.
    blob_grace_seconds: float = Field(24 * 3600.0, ge=60, le=MAX_DAYS * 86_400)
    work_dir: Path = Path(".data/work")

    # Size limits of a request to train, and of any other request, whose content goes through
    # Postgres, Redis and the memory of every process on its way.
    max_body_bytes: int = Field(64 * MIB, ge=1024, le=MANY)
    max_request_bytes: int = Field(MIB, ge=1024, le=MANY)
    max_training_examples: int = Field(200_000, ge=1, le=MANY)
    wait_seconds: float = Field(30.0, ge=0, le=300)
    web_threads: int = Field(128, ge=4, le=MOST_THREADS)
    web_processes: int = Field(2, ge=1, le=MOST_THREADS)

    # Limits of one company: rows that are with the broker or a worker, and open rows (not ended).
    # Beyond that the API answers 429.
    jobs_in_broker: int = Field(64, ge=1, le=MANY)
    trainings_in_broker: int = Field(1, ge=1, le=MANY)
    # Half of a tools worker's threads: tools that hang must not keep those of others waiting.
    tool_calls_in_broker: int = Field(8, ge=1, le=MANY)
    open_jobs_per_company: int = Field(10_000, ge=1, le=MANY)
    open_trainings_per_company: int = Field(50, ge=1, le=MANY)
    max_new_tokens: int = Field(256, ge=1, le=MANY)
    job_seconds: float = Field(300.0, gt=0, le=86_400)
    # Limits of a conversation: its wait for a worker, and the time of its answer.
    chat_queue_seconds: float = Field(30.0, ge=1, le=600)
    chat_seconds: float = Field(300.0, gt=0, le=3600)
    # Limits of an agent that has none of its own: turns of the model and the tokens of all of them,
    # seconds from the first turn on, and how many of the company's memories it is shown.
    agent_steps: int = Field(8, ge=1, le=64)
    agent_tokens: int = Field(2048, ge=1, le=65_536)
    agent_seconds: float = Field(240.0, gt=0, le=3600)
    agent_memories: int = Field(3, ge=0, le=50)

    engine_device: Literal["auto", "cpu", "cuda"] = "auto"
    engine_dtype: Literal["fp32", "bf16", "nf4"] = "fp32"
    engine_threads: int = Field(1, ge=1, le=MOST_THREADS)
    engine_batch: int = Field(64, ge=1, le=MANY)
    engine_adapters: int = Field(64, ge=1, le=MANY)
    training_threads: int = Field(2, ge=1, le=MOST_THREADS)
    # An idle training worker keeps a trainer ready with its libraries loaded: about 400 MB.
    training_standby: bool = True
    # Days that rows are kept once they have done their work. The inbox must outlive the streams'
    # entries, or an old entry that is read again would have a second effect; the outbox too, or
    # what a stream has lost could not be sent again.
    stream_days: float = Field(1.0, gt=0, le=MAX_DAYS)
    inbox_days: float = Field(30.0, gt=0, le=MAX_DAYS)
    outbox_days: float = Field(7.0, gt=0, le=MAX_DAYS)
    # Payloads of ended jobs, ended tool calls, memories, dead letters that were replayed, and dead
    # letters that are still open.
    job_payload_days: float = Field(90.0, gt=0, le=MAX_DAYS)
    tool_call_days: float = Field(90.0, gt=0, le=MAX_DAYS)
    memory_days: float = Field(365.0, gt=0, le=MAX_DAYS)
    dead_letter_days: float = Field(90.0, gt=0, le=MAX_DAYS)
    open_dead_letter_days: float = Field(365.0, gt=0, le=MAX_DAYS)

    # A run's newest checkpoints in the blob store, and the days that they outlive the run.
    training_checkpoints: int = Field(3, ge=1, le=100)
    checkpoint_days: float = Field(7.0, gt=0, le=MAX_DAYS)

    # Fernet keys, comma-separated: the first encrypts, all decrypt.
    tool_secrets_key: Annotated[str, AfterValidator(_fernet_keys)] = ""
    # Hosts that tools may have although they are not public, or not https: host, host:port, CIDR.
    tool_allowed_hosts: Annotated[str, AfterValidator(_tool_hosts)] = ""
    tool_connect_seconds: float = Field(5.0, gt=0, le=60)
    tool_read_seconds: float = Field(30.0, gt=0, le=600)
    tool_total_seconds: float = Field(60.0, gt=0, le=600)
    tool_response_bytes: int = Field(MIB, ge=1024, le=64 * MIB)

    flower_user: str = "operator"
    flower_password: str = ""
    ready_file: Path | None = Field(None, alias="CYREX_READY_FILE")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @model_validator(mode="after")
    def _deliveries_are_remembered(self) -> Self:
        for name, days in (("INBOX_DAYS", self.inbox_days), ("OUTBOX_DAYS", self.outbox_days)):
            if days <= self.stream_days:
                raise ValueError(f"{name}: must be more than STREAM_DAYS, {self.stream_days:g}")
        return self

    @model_validator(mode="after")
    def _stores_are_whole(self) -> Self:
        """The chosen stores have their variables, and MLflow has another database than we."""
        kind, uri = self.model_registry_type, self.mlflow_tracking_uri
        for variable in ("model_registry_type", "blob_store_type"):
            if getattr(self, variable) == "s3" and not self.s3_bucket:
                raise ValueError(f"S3_BUCKET: must be given for {variable.upper()}=s3")
        if kind == "mlflow" and not uri:
            raise ValueError("MLFLOW_TRACKING_URI: must be given for MODEL_REGISTRY_TYPE=mlflow")
        if kind == "mlflow" and uri.startswith("http") and not self.s3_bucket:
            raise ValueError(
                "S3_BUCKET: must be given for an MLflow server, which takes no other machine's "
                "folders"
            )
        if uri.startswith("postgresql") and _place(uri) == _place(self.database_url):
            raise ValueError(
                "MLFLOW_TRACKING_URI: must be another database than DATABASE_URL: both keep a "
                "table alembic_version"
            )
        if bool(self.s3_access_key_id) != bool(self.s3_secret_access_key):
            missing = "S3_SECRET_ACCESS_KEY" if self.s3_access_key_id else "S3_ACCESS_KEY_ID"
            raise ValueError(f"{missing}: must be given with its other half")
        return self


# Variables whose value may hold a password: an error does not repeat it.
SECRET_WORDS = ("URL", "URI", "KEY", "SECRET", "PASSWORD", "TOKEN")


def message_of(finding: Mapping[str, object]) -> str:
    """The message of one of pydantic's findings; it writes its kind of error before our own."""
    return str(finding["msg"]).removeprefix("Value error, ")


def _lines(error: ValidationError) -> str:
    """Render pydantic's findings as one line, each with its variable's name."""
    found = []
    for item in error.errors(include_url=False):
        place = ".".join(str(part) for part in item["loc"]).upper()
        message = message_of(item)
        shown: Any = item.get("input")
        hidden = any(word in place for word in SECRET_WORDS)
        value = f" (got {shown!r})" if place and isinstance(shown, str) and not hidden else ""
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
