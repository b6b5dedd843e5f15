"""Tables of processes to put under the supervisor: small real programs."""

from __future__ import annotations

import dataclasses
import sys

from embedded.stack.processes import Context, answers, celery, file_exists, python
from embedded.supervisor.spec import ProcessSpec, Stage, stays_up

# Writes its name when it is asked to stop, then takes a moment to do so.
POLITE = """
import signal, sys, time
def stop(number, frame):
    with open(sys.argv[2], "a") as order:
        order.write(sys.argv[1] + " asked\\n")
    time.sleep(0.3)
    with open(sys.argv[2], "a") as order:
        order.write(sys.argv[1] + " gone\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
open(sys.argv[3], "w").close()
while True:
    time.sleep(60)
"""

STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").close()
while True:
    time.sleep(60)
"""

# A process with a child and, in a session of its own, a grandchild.
GRANDCHILD_SECONDS = "1001"
PARENT = f"""
import subprocess, sys, time
command = ["sleep", "{GRANDCHILD_SECONDS}"]
child = f"import subprocess, time; subprocess.Popen({{command}}, start_new_session=True); "
subprocess.Popen([sys.executable, "-c", child + "time.sleep(1000)"])
time.sleep(1000)
"""

WSGI = "tests.integration.embedded.tables:application"
CELERY = "tests.integration.embedded.broker"


def polite(context: Context, name: str, stage: Stage) -> ProcessSpec:
    order, ready = context.layout.root / "order", context.layout.ready_file(name)
    return ProcessSpec(
        name,
        (sys.executable, "-c", POLITE, name, str(order), str(ready)),
        stage,
        ready=file_exists(ready),
        prepare=lambda: ready.unlink(missing_ok=True),
    )


def http(context: Context) -> ProcessSpec:
    port = context.ports["web"]
    return ProcessSpec(
        "web",
        python("http.server", str(port), "--bind", "127.0.0.1", "--directory", "/nonexistent"),
        Stage.EDGE,
        ready=answers(f"127.0.0.1:{port}", "/"),
        address=f"http://127.0.0.1:{port}",
    )


def simple(context: Context) -> list[ProcessSpec]:
    """One of each stage, and a set-up step."""
    step = (sys.executable, "-c", "print('the step ran')")
    return [
        ProcessSpec("step", step, Stage.SETUP, once=True),
        polite(context, "first", Stage.SERVER),
        polite(context, "second", Stage.WORKER),
        polite(context, "third", Stage.EDGE),
        http(context),
    ]


def stubborn(context: Context) -> list[ProcessSpec]:
    """One that ignores SIGTERM."""
    ready = context.layout.ready_file("stubborn")
    return [
        ProcessSpec(
            "stubborn",
            (sys.executable, "-c", STUBBORN, str(ready)),
            Stage.WORKER,
            ready=file_exists(ready),
            grace_seconds=1.0,
        ),
        polite(context, "other", Stage.SERVER),
    ]


def very_stubborn(context: Context) -> list[ProcessSpec]:
    """As above, with a grace that nobody waits for."""
    return [
        dataclasses.replace(spec, grace_seconds=600.0) if spec.name == "stubborn" else spec
        for spec in stubborn(context)
    ]


def broken(context: Context) -> list[ProcessSpec]:
    """One that never comes up."""
    return [
        polite(context, "fine", Stage.SERVER),
        ProcessSpec(
            "broken", (sys.executable, "-c", "raise SystemExit('no such luck')"), Stage.WORKER
        ),
    ]


def silent(context: Context) -> list[ProcessSpec]:
    """One that runs and is never ready."""
    return [
        ProcessSpec(
            "silent", ("sleep", "1000"), Stage.WORKER, ready=lambda _age: False, start_seconds=1.0
        )
    ]


def hesitant(context: Context) -> list[ProcessSpec]:
    """One that takes longer to come up than anybody waits."""
    command = ("sleep", "1000")
    return [ProcessSpec("hesitant", command, Stage.WORKER, ready=lambda _age: False)]


def failing_step(context: Context) -> list[ProcessSpec]:
    command = (sys.executable, "-c", "raise SystemExit('no such table')")
    return [
        ProcessSpec("step", command, Stage.SETUP, once=True),
        polite(context, "later", Stage.WORKER),
    ]


def trees(context: Context) -> list[ProcessSpec]:
    """Processes with children: gunicorn's, Celery's, and a detached grandchild."""
    address = f"127.0.0.1:{context.ports['web']}"
    pool = celery("worker", "-P", "prefork", "-c", "2", "--without-gossip", "--without-mingle")
    return [
        ProcessSpec(
            "web",
            python("gunicorn", "-k", "gthread", "-w", "2", "-b", address, "--no-control-socket")
            + (WSGI,),
            Stage.EDGE,
            ready=answers(address, "/", (200,)),
        ),
        ProcessSpec(
            "pool",
            tuple(CELERY if part == "tasks" else part for part in pool),
            Stage.WORKER,
            ready=file_exists(context.layout.ready_file("pool")),
            prepare=lambda: context.layout.ready_file("pool").unlink(missing_ok=True),
            environment={"CYREX_READY_FILE": str(context.layout.ready_file("pool"))},
        ),
        ProcessSpec("parent", (sys.executable, "-c", PARENT), Stage.WORKER, ready=stays_up(0.5)),
    ]


def heirs(_context: Context) -> list[ProcessSpec]:
    """A process whose grandchild may live on without it."""
    command = (sys.executable, "-c", PARENT)
    return [
        ProcessSpec(
            "parent", command, Stage.WORKER, ready=stays_up(0.5), outlived_by=GRANDCHILD_SECONDS
        )
    ]


def application(_environ: object, start_response: object) -> list[bytes]:
    """A WSGI application that answers."""
    assert callable(start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here\n"]
