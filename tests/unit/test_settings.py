"""Every variable: what it is by default, and one clear line for a value that cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from settings import REPOSITORY, Settings, SettingsError, get_settings, settings_or_exit

WRONG = {
    "DATABASE_URL": [
        "mysql://user:secret@host/name",
        "user:secret@host/name",
        "postgresql://",
        "postgresql://user:secret@host:port/name",
    ],
    "REDIS_URL": [
        "http://:secret@host:6379/0",
        "host:6379",
        "redis://:secret@host:port/0",
        "redis://:secret@host:6379/one",
    ],
    "MODEL_REGISTRY_TYPE": ["ftp"],
    "MLFLOW_TRACKING_URI": [
        "sqlite:///mlflow.db",
        "mlflow:5000",
        "http://",
        "http://user:secret@mlflow:port",
        "postgresql://user:secret@host:port/mlflow",
        "postgresql://user:secret@127.0.0.1/cyrex",
    ],
    "S3_ENDPOINT_URL": ["minio:9000", "ftp://minio", "http://minio:port"],
    "S3_BUCKET": ["b", "Upper", "with space", "a/b", "s3://bucket"],
    "MAX_BODY_BYTES": ["64MB", "12"],
    "MAX_REQUEST_BYTES": ["1MB", "12"],
    "MAX_TRAINING_EXAMPLES": ["0", "many"],
    "WAIT_SECONDS": ["-1", "301", "nan"],
    "WEB_THREADS": ["3", "4.5"],
    "WEB_PROCESSES": ["0"],
    "JOBS_IN_BROKER": ["0"],
    "TRAININGS_IN_BROKER": ["0"],
    "TOOL_CALLS_IN_BROKER": ["0"],
    "OPEN_JOBS_PER_COMPANY": ["0"],
    "OPEN_TRAININGS_PER_COMPANY": ["0"],
    "STREAM_DAYS": ["0", "inf", "nan"],
    "INBOX_DAYS": ["0", "1e300", "1"],
    "OUTBOX_DAYS": ["0", "inf", "0.5"],
    "JOB_PAYLOAD_DAYS": ["0", "inf"],
    "TOOL_CALL_DAYS": ["0", "inf"],
    "MEMORY_DAYS": ["0", "inf"],
    "DEAD_LETTER_DAYS": ["0", "inf"],
    "OPEN_DEAD_LETTER_DAYS": ["0", "inf"],
    "MAX_NEW_TOKENS": ["0"],
    "JOB_SECONDS": ["0", "nan", "inf", "1e300"],
    "AGENT_STEPS": ["0", "65", "few"],
    "AGENT_TOKENS": ["0", "65537"],
    "AGENT_SECONDS": ["0", "3601", "nan"],
    "AGENT_MEMORIES": ["-1", "51"],
    "ENGINE_DEVICE": ["tpu"],
    "ENGINE_DTYPE": ["fp16"],
    "ENGINE_THREADS": ["0", "two\nlines"],
    "ENGINE_BATCH": ["0"],
    "ENGINE_ADAPTERS": ["0"],
    "TRAINING_THREADS": ["0"],
    "TRAINING_STANDBY": ["perhaps"],
    "BASE_MODEL_THINKING": ["perhaps"],
    "TRAINING_CHECKPOINTS": ["0", "101"],
    "CHECKPOINT_DAYS": ["0", "inf"],
    "BLOB_STORE_TYPE": ["directory", "S3 "],
    "BLOB_S3_PREFIX": ["/blobs", "blobs/", "a//b", "models", "models/x", "bl obs", "ä"],
    "BLOB_GRACE_SECONDS": ["59", "inf"],
    "CHAT_QUEUE_SECONDS": ["0", "601"],
    "CHAT_SECONDS": ["0", "3601"],
    "LOG_LEVEL": ["chatty"],
    "TOOL_SECRETS_KEY": ["secret", "A" * 43 + "=,secret", "ä"],
    "TOOL_ALLOWED_HOSTS": ["http://crm.local", "10.0.0.0/33", "crm.local/24", "a b", "h:port"],
    "TOOL_CONNECT_SECONDS": ["0", "61"],
    "TOOL_READ_SECONDS": ["0", "nan"],
    "TOOL_TOTAL_SECONDS": ["0", "inf"],
    "TOOL_RESPONSE_BYTES": ["10", "1GB"],
}
# Any text is a folder, a name or a password.
FREE_TEXT = {
    "BASE_MODEL_PATH",
    "BASE_MODEL_REVISION",
    "DATA_DIR",
    "ADAPTER_CACHE_DIR",
    "MODEL_REGISTRY_PATH",
    "BLOB_DIR",
    "WORK_DIR",
    "S3_REGION",
    "FLOWER_USER",
    "FLOWER_PASSWORD",
    "CYREX_READY_FILE",
}


# Read where the product's own name is not given.
OTHER_NAMES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
)


def variables() -> set[str]:
    """The names that the product reads."""
    return {(field.alias or name).upper() for name, field in Settings.model_fields.items()}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*variables(), *OTHER_NAMES):
        monkeypatch.delenv(name, raising=False)


def read() -> Settings:
    """Read the environment anew, and leave nothing cached."""
    get_settings.cache_clear()
    try:
        return get_settings()
    finally:
        get_settings.cache_clear()


def test_every_variable_is_tested() -> None:
    assert set(WRONG) | FREE_TEXT | {"S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"} == variables()


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"MODEL_REGISTRY_TYPE": "s3"}, "S3_BUCKET"),
        ({"BLOB_STORE_TYPE": "s3"}, "S3_BUCKET"),
        ({"MODEL_REGISTRY_TYPE": "mlflow"}, "MLFLOW_TRACKING_URI"),
        (
            {"MODEL_REGISTRY_TYPE": "mlflow", "MLFLOW_TRACKING_URI": "http://mlflow:5000"},
            "S3_BUCKET",
        ),
        ({"S3_ACCESS_KEY_ID": "me"}, "S3_SECRET_ACCESS_KEY"),
        ({"AWS_SECRET_ACCESS_KEY": "secret"}, "S3_ACCESS_KEY_ID"),
    ],
)
def test_what_a_store_needs_is_asked_for(
    given: dict[str, str], missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        read()
    said = str(refused.value)
    assert said.startswith(f"{missing}: must be given")
    assert len(said.splitlines()) == 1
    assert "secret" not in said


@pytest.mark.parametrize(("name", "value"), [(name, v) for name in WRONG for v in WRONG[name]])
def test_a_wrong_value_is_one_line_that_names_the_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        read()
    said = str(refused.value)
    assert said.startswith(f"{name}: ")
    assert len(said.splitlines()) == 1
    assert "secret" not in said


def test_all_wrong_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_BATCH", "0")
    monkeypatch.setenv("WEB_THREADS", "x")
    with pytest.raises(SettingsError) as refused:
        read()
    assert "ENGINE_BATCH: " in str(refused.value)
    assert "WEB_THREADS: " in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_defaults_need_no_variable_at_all() -> None:
    found = read()
    assert found.database_url == "postgresql+psycopg2://cyrex@127.0.0.1:5432/cyrex"
    assert found.redis_url == "redis://127.0.0.1:6379/0"
    assert found.base_model_path == str(REPOSITORY / "base_model" / "cyrex-small")
    assert found.model_registry_type == "local"
    assert found.trainings_in_broker == 1
    assert found.wait_seconds == 30
    # Nothing is stored outside the data folder unless a variable says so.
    for folder in ("adapter_cache_dir", "model_registry_path", "blob_dir", "work_dir"):
        assert getattr(found, folder).parent == found.data_dir


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variables():
        monkeypatch.setenv(name, "")
    assert read() == Settings.model_validate({})


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_any_name_of_postgres_means_psycopg2(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://u:p@h:5433/d")
    assert read().database_url == "postgresql+psycopg2://u:p@h:5433/d"


def test_the_guides_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASE_MODEL_PATH", "mistralai/Mistral-7B-v0.1")
    monkeypatch.setenv("ADAPTER_CACHE_DIR", "/app/adapters")
    monkeypatch.setenv("REDIS_URL", "redis://redis:6379")
    monkeypatch.setenv("MODEL_REGISTRY_TYPE", "mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    monkeypatch.setenv("S3_ENDPOINT_URL", "http://minio:9000")
    monkeypatch.setenv("S3_BUCKET", "mlflow-artifacts")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mine")
    found = read()
    assert found.model_registry_type == "mlflow"
    assert found.mlflow_tracking_uri == "http://mlflow:5000"
    assert (found.s3_endpoint_url, found.s3_bucket) == ("http://minio:9000", "mlflow-artifacts")
    assert (found.s3_access_key_id, found.s3_secret_access_key) == ("me", "mine")
    assert "'mine'" not in repr(found)
    assert found.base_model_path == "mistralai/Mistral-7B-v0.1"
    assert found.adapter_cache_dir == Path("/app/adapters")
    assert found.redis_url == "redis://redis:6379"


@pytest.mark.parametrize(
    "variable",
    [name.upper() for name, field in Settings.model_fields.items() if field.annotation is int],
)
def test_no_number_is_too_large_for_what_it_is_used_in(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(2**31))
    with pytest.raises(ValidationError, match="less than or equal to"):
        Settings()


def test_settings_are_read_once_and_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    get_settings.cache_clear()
    try:
        first = get_settings()
        monkeypatch.setenv("ENGINE_BATCH", "3")
        assert get_settings() is first
        with pytest.raises(ValidationError):
            first.engine_batch = 3
    finally:
        get_settings.cache_clear()


def test_an_entry_point_prints_the_line_and_leaves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENGINE_BATCH", "0")
    get_settings.cache_clear()
    with pytest.raises(SystemExit) as left:
        settings_or_exit()
    get_settings.cache_clear()
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("settings: ENGINE_BATCH: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "database", "upgrade"],
        ["-m", "cyrex.tenants.keys", "operator", "--file", "key"],
        ["-m", "celery", "-A", "tasks", "report"],
    ],
    ids=lambda command: command[1],
)
def test_a_process_with_a_wrong_variable_says_so_and_nothing_else(
    command: list[str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "ENGINE_BATCH": "0", "PYTHONPATH": str(REPOSITORY)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "settings: ENGINE_BATCH: Input should be greater than or equal to 1 (got '0')"
    ]
    assert not list(tmp_path.iterdir())
