"""The processes of the product beside the two servers: a table."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from embedded.layout import Layout
from embedded.servers.ports import LOOPBACK, Ports
from embedded.supervisor.spec import Probe, ProcessSpec, Stage, stays_up

PROBE_SECONDS = 2.0
BEAT_SECONDS = 1.0
# A first start imports torch on a busy machine.
START_SECONDS = 180.0
# Longer than the workers' own soft shutdown, which writes a training's checkpoint.
WORKER_GRACE_SECONDS = 30.0
WEB_GRACE_SECONDS = 12.0
HTTP_OK = 200
# Workers find each other in Postgres; asking around costs a second of each start.
ALONE = ("--without-mingle", "--without-gossip")


@dataclass(frozen=True)
class Context:
    """Input of a table of processes: the data folder, the ports, the environment to be."""

    layout: Layout
    ports: Ports
    environment: Mapping[str, str]


def table(context: Context) -> list[ProcessSpec]:
    return [
        *set_up(context),
        # More than one company may have under way at once: JOBS_IN_BROKER, and conversations in its
        # seats of each process of the API. It leaves threads for everybody else.
        worker(context, "inference", "inference", "threads", 256),
        worker(context, "training", "training", "prefork", 1),
        worker(context, "bridge", "bridge,maintenance", "threads", 8),
        worker(context, "tools", "tools", "threads", 16),
        web(context),
        beat(context),
        flower(context),
    ]


def set_up(context: Context) -> list[ProcessSpec]:
    """The steps between the servers and the rest, one after the other."""
    key = str(context.layout.operator_key)
    return [
        ProcessSpec("upgrade", python("database", "upgrade"), Stage.SETUP, once=True),
        ProcessSpec(
            "keys", python("cyrex.tenants.keys", "operator", "--file", key), Stage.SETUP, once=True
        ),
    ]


def worker(context: Context, name: str, queues: str, pool: str, concurrency: int) -> ProcessSpec:
    ready = context.layout.ready_file(name)
    return ProcessSpec(
        name=name,
        command=celery("worker", "-Q", queues, "-P", pool, "-c", str(concurrency))
        + ("-n", f"{name}@%h", *ALONE),
        stage=Stage.WORKER,
        environment={"CYREX_READY_FILE": str(ready)},
        ready=file_exists(ready),
        prepare=lambda: ready.unlink(missing_ok=True),
        start_seconds=START_SECONDS,
        grace_seconds=WORKER_GRACE_SECONDS,
        outlived_by="cyrex.serving.child" if queues == "inference" else "",
    )


def web(context: Context) -> ProcessSpec:
    address = f"{LOOPBACK}:{context.ports['web']}"
    return ProcessSpec(
        name="web",
        command=python("gunicorn", "-c", "python:web.gunicorn_conf", "web:create_app()"),
        stage=Stage.EDGE,
        environment={"WEB_BIND": address},
        ready=answers(address, "/readyz", (HTTP_OK,)),
        start_seconds=START_SECONDS,
        grace_seconds=WEB_GRACE_SECONDS,
        address=f"http://{address}",
    )


def beat(context: Context) -> ProcessSpec:
    schedule = str(context.layout.run / "beat-schedule")
    return ProcessSpec(
        name="beat",
        command=celery("beat", "--schedule", schedule),
        stage=Stage.EDGE,
        ready=stays_up(BEAT_SECONDS),
    )


def flower(context: Context) -> ProcessSpec:
    port = context.ports["flower"]
    return ProcessSpec(
        name="flower",
        command=celery("flower"),
        stage=Stage.EDGE,
        environment={"FLOWER_ADDRESS": LOOPBACK, "FLOWER_PORT": str(port)},
        ready=answers(f"{LOOPBACK}:{port}", "/"),
        start_seconds=START_SECONDS,
        address=f"http://{LOOPBACK}:{port}",
    )


def python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def celery(*arguments: str) -> tuple[str, ...]:
    return python("celery", "-A", "tasks", *arguments)


def file_exists(path: Path) -> Probe:
    return lambda _age: path.exists()


def answers(address: str, path: str, statuses: tuple[int, ...] = ()) -> Probe:
    """GET gives one of `statuses` (none given: any answer will do)."""

    def ready(_age: float) -> bool:
        connection = http.client.HTTPConnection(address, timeout=PROBE_SECONDS)
        try:
            connection.request("GET", path)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return not statuses or status in statuses

    return ready
