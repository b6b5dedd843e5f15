from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

import pytest

from embedded.layout import Layout
from embedded.stack import plan
from embedded.stack.options import Options
from embedded.stack.plan import PlanError, StackPlan
from embedded.supervisor.spec import Stage


def make(folder: Path, environ: Mapping[str, str] | None = None, names: str = "all") -> StackPlan:
    layout = Layout.at(folder)
    layout.make_folders()
    return plan.make(Options(folder, names), layout, environ or {})


def names(made: StackPlan) -> list[str]:
    return [spec.name for spec in made.specs]


def test_everything(tmp_path: Path) -> None:
    made = make(tmp_path)
    assert names(made) == [
        *("postgres", "valkey", "upgrade", "keys"),
        *("inference", "training", "bridge", "tools", "web", "beat", "flower"),
    ]
    assert [spec.stage for spec in made.specs] == sorted(spec.stage for spec in made.specs)
    assert {spec.name for spec in made.specs if spec.once} == {"upgrade", "keys"}


def test_servers_alone(tmp_path: Path) -> None:
    made = make(tmp_path, names="servers")
    assert names(made) == ["postgres", "valkey"]
    assert "CYREX_API_URL" not in made.environment


def test_named_processes_get_servers_and_set_up(tmp_path: Path) -> None:
    made = make(tmp_path, names="bridge, web")
    assert names(made) == ["postgres", "valkey", "upgrade", "keys", "bridge", "web"]


def test_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="processes: wbe unknown; there are beat, bridge"):
        make(tmp_path, names="wbe")


def test_variables_that_are_set_win(tmp_path: Path) -> None:
    given = {
        "DATABASE_URL": "postgresql://there/cyrex",
        "REDIS_URL": "redis://there/3",
        "BLOB_DIR": "/mnt/blobs",
        "BASE_MODEL_PATH": "/models/base",
        "DATA_DIR": "/not/this",
        "OMP_NUM_THREADS": "4",
        "UNRELATED": "x",
    }
    made = make(tmp_path, given)
    for name in ("DATABASE_URL", "REDIS_URL", "BLOB_DIR", "BASE_MODEL_PATH", "OMP_NUM_THREADS"):
        assert made.environment[name] == given[name]
    assert made.environment["DATA_DIR"] == str(tmp_path)
    assert "UNRELATED" not in made.environment
    assert not {"postgres", "valkey"} & set(names(made))
    assert made.notes[:2] == (
        "postgres: not started, DATABASE_URL is given",
        "valkey: not started, REDIS_URL is given",
    )


def test_an_empty_variable_is_none_at_all(tmp_path: Path) -> None:
    made = make(tmp_path, {"DATABASE_URL": "", "BLOB_DIR": ""})
    assert "postgres" in names(made)
    assert made.environment["BLOB_DIR"] == str(tmp_path / "blobs")


def test_no_secret_is_on_a_command_line(tmp_path: Path) -> None:
    made = make(tmp_path)
    secrets = [path.read_text() for path in made.layout.secrets.iterdir()]
    assert len(secrets) == 4
    words = " ".join(word for spec in made.specs for word in spec.command)
    assert not [secret for secret in secrets if secret in words]


def test_flower_is_behind_its_password(tmp_path: Path) -> None:
    made = make(tmp_path)
    password = made.layout.secret("flower")
    assert made.environment["FLOWER_BASIC_AUTH"] == f"operator:{password}"
    given = make(tmp_path, {"FLOWER_USER": "me", "FLOWER_PASSWORD": "mine"})
    assert given.environment["FLOWER_BASIC_AUTH"] == "me:mine"


def test_workers_say_when_they_are_ready(tmp_path: Path) -> None:
    made = make(tmp_path)
    for spec in made.specs:
        if spec.stage != Stage.WORKER:
            continue
        ready = Path(spec.environment["CYREX_READY_FILE"])
        ready.touch()
        spec.prepare()
        assert not spec.ready(0.0), spec.name  # what an earlier life left says nothing
        ready.touch()
        assert spec.ready(0.0), spec.name


def test_the_web_server_listens_where_the_plan_says(tmp_path: Path) -> None:
    made = make(tmp_path)
    web = next(spec for spec in made.specs if spec.name == "web")
    assert web.address == made.environment["CYREX_API_URL"]
    assert web.environment["WEB_BIND"] == f"127.0.0.1:{made.ports['web']}"


def test_the_key_of_the_tools_secrets_lasts(tmp_path: Path) -> None:
    first = make(tmp_path).environment["TOOL_SECRETS_KEY"]
    assert len(base64.urlsafe_b64decode(first)) == 32
    assert make(tmp_path).environment["TOOL_SECRETS_KEY"] == first
    assert make(tmp_path, {"TOOL_SECRETS_KEY": "mine"}).environment["TOOL_SECRETS_KEY"] == "mine"


def test_adapters_are_registered_in_mlflow_unless_asked_otherwise(tmp_path: Path) -> None:
    values = make(tmp_path).environment
    assert values["MODEL_REGISTRY_TYPE"] == "mlflow"
    assert values["MLFLOW_TRACKING_URI"].endswith("/mlflow")
    assert values["MLFLOW_TRACKING_URI"] != values["DATABASE_URL"]
    local = make(tmp_path, {"MODEL_REGISTRY_TYPE": "local"}).environment
    assert local["MODEL_REGISTRY_TYPE"] == "local"
    assert "MLFLOW_TRACKING_URI" not in local
    # Whose Postgres it is not, there is no database for MLflow to be had.
    elsewhere = make(tmp_path, {"DATABASE_URL": "postgresql://there/cyrex"}).environment
    assert "MODEL_REGISTRY_TYPE" not in elsewhere
