"""From options and environment to a stack: which processes, with which environment."""

from __future__ import annotations

import base64
import hashlib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from embedded.layout import Layout
from embedded.servers import postgres, valkey
from embedded.servers.ports import Ports
from embedded.stack.options import Options, with_packages
from embedded.stack.processes import Context
from embedded.supervisor.spec import ProcessSpec, Stage

FLOWER_USER = "operator"


class PlanError(ValueError):
    """The options do not describe a stack; the message names the wrong one."""


@dataclass(frozen=True)
class StackPlan:
    """`environment` is what tells a program where this stack is; `ports` holds its claims."""

    layout: Layout
    specs: tuple[ProcessSpec, ...]
    environment: Mapping[str, str]
    ports: Ports
    notes: tuple[str, ...] = field(default=())


def make(options: Options, layout: Layout, environ: Mapping[str, str]) -> StackPlan:
    """Choose ports, passwords and processes. Variables that `environ` sets win.

    Raises `PlanError`, and `RuntimeError`s of the servers.
    """
    ports = Ports(layout.ports)
    given = {name: value for name, value in environ.items() if value}
    external = {"postgres": "DATABASE_URL" in given, "valkey": "REDIS_URL" in given}
    servers = [name for name in external if not external[name]]
    notes = [
        f"{name}: not started, {variable} is given"
        for name, variable in (("postgres", "DATABASE_URL"), ("valkey", "REDIS_URL"))
        if external[name]
    ]
    needed = servers if options.processes == "servers" else [*servers, "web", "flower"]
    ports.remember()  # even none: the file says that this folder is a stack's
    notes += [note for note in map(ports.reserve, needed) if note]

    environment = _environment(layout, ports, needed, given)
    specs = _server_specs(layout, ports, servers)
    if options.processes != "servers":
        context = Context(layout, ports, {**given, **environment})
        specs += _chosen(_load(options.table)(context), options.processes)
    return StackPlan(layout, tuple(specs), environment, ports, tuple(notes))


def _server_specs(layout: Layout, ports: Ports, servers: list[str]) -> list[ProcessSpec]:
    makers = {"postgres": postgres.spec, "valkey": valkey.spec}
    return [makers[name](layout, ports) for name in servers]


def _chosen(specs: list[ProcessSpec], processes: str) -> list[ProcessSpec]:
    """All, or the set-up steps and those named."""
    if processes == "all":
        return specs
    names = {name.strip() for name in processes.split(",")}
    known = {spec.name for spec in specs}
    if unknown := names - known:
        raise PlanError(
            f"processes: {', '.join(sorted(unknown))} unknown; "
            f"there are {', '.join(sorted(known))}, and `all` and `servers`"
        )
    return [spec for spec in specs if spec.stage == Stage.SETUP or spec.name in names]


def _load(table: str) -> Callable[[Context], list[ProcessSpec]]:
    module, _, function = table.partition(":")
    loaded: Callable[[Context], list[ProcessSpec]] = getattr(
        importlib.import_module(module), function
    )
    return loaded


def _fernet_key(secret: str) -> str:
    """32 bytes in URL-safe base64, made from a secret of the same strength."""
    return base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()).decode()


def _registry(layout: Layout, port: int, given: Mapping[str, str]) -> dict[str, str]:
    """MLflow on our Postgres, in a database of its own, unless another registry is asked for."""
    if given.get("MODEL_REGISTRY_TYPE", "mlflow") != "mlflow":
        return {}
    uri = postgres.url(layout, port, database=postgres.MLFLOW_DATABASE)
    return {"MODEL_REGISTRY_TYPE": "mlflow", "MLFLOW_TRACKING_URI": uri}


def _environment(
    layout: Layout, ports: Ports, needed: list[str], given: Mapping[str, str]
) -> dict[str, str]:
    """The values for `settings.py`, and where a client finds the stack."""
    values = {
        "DATA_DIR": str(layout.root),
        "BLOB_DIR": str(layout.root / "blobs"),
        "WORK_DIR": str(layout.root / "work"),
        "ADAPTER_CACHE_DIR": str(layout.root / "adapters"),
        "MODEL_REGISTRY_PATH": str(layout.root / "registry"),
        # On few cores, OpenMP threads that spin cost the others more than they win.
        "OMP_NUM_THREADS": "1",
        "GOMP_SPINCOUNT": "0",
        "PYTHONUNBUFFERED": "1",
    }
    if "postgres" in needed:
        values["DATABASE_URL"] = postgres.url(layout, ports["postgres"])
        values |= _registry(layout, ports["postgres"], given)
    if "valkey" in needed:
        values["REDIS_URL"] = valkey.url(layout, ports["valkey"])
    if "web" in needed:
        values["FLOWER_USER"] = FLOWER_USER
        values["FLOWER_PASSWORD"] = layout.secret("flower")
        values["TOOL_SECRETS_KEY"] = _fernet_key(layout.secret("tools"))
    names = [*values, "DATABASE_URL", "REDIS_URL", "BASE_MODEL_PATH"]
    names += ["MODEL_REGISTRY_TYPE", "MLFLOW_TRACKING_URI"]
    # DATA_DIR was an option by now; every other variable that is set wins.
    values |= {name: given[name] for name in names if name in given and name != "DATA_DIR"}
    if "web" in needed:
        values["FLOWER_BASIC_AUTH"] = f"{values['FLOWER_USER']}:{values['FLOWER_PASSWORD']}"
        values["CYREX_API_URL"] = f"http://127.0.0.1:{ports['web']}"
        values["CYREX_FLOWER_URL"] = f"http://127.0.0.1:{ports['flower']}"
        values["CYREX_OPERATOR_KEY_FILE"] = str(layout.operator_key)
    values["PYTHONPATH"] = with_packages(given.get("PYTHONPATH"))
    return values
