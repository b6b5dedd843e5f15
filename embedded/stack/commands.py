"""The commands of `python -m embedded`."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from embedded.layout import DataFolderError, Layout, write_private
from embedded.servers import postgres
from embedded.stack import plan
from embedded.stack.driver import Stack, StackError
from embedded.stack.options import Options
from embedded.stack.plan import StackPlan
from embedded.supervisor import forward, guard, kernel, state
from embedded.supervisor.supervisor import MARKER, Supervisor, say

DOCS_PATH = "/docs/swagger"
PRIVATE_UMASK = 0o077
NOT_RUNNING = 3
NOT_FOUND = 127
# A terminal's Ctrl-C reaches the command by itself.
PASSED_ON = {
    signal.SIGINT: None,
    signal.SIGTERM: signal.SIGTERM,
    signal.SIGHUP: signal.SIGTERM,
}


def supervise(options: Options) -> int:
    """Be the supervisor. Returns the exit status."""
    layout = Layout.at(options.data_dir)
    try:
        # Postgres, who may be another user, has to pass through here.
        layout.root.mkdir(parents=True, exist_ok=True)
        # Companies' data lies in files below: nobody else on this machine is to read them.
        os.umask(PRIVATE_UMASK)
        with layout.lock():
            root = str(layout.root)
            guard.end_leftovers([*kernel.marked(f"{MARKER}={root}"), *postgres.leftovers(layout)])
            if options.fresh:
                layout.forget()
            layout.make_folders()
            made = plan.make(options, layout, os.environ)
            if options.processes != "servers":
                _check_settings(made)
            write_private(layout.environment, json.dumps(dict(made.environment), indent=2) + "\n")
            say(f"data in {root}")
            for note in made.notes:
                say(note)
            lifeline = sys.stdin.fileno() if options.until_stdin_closes else None
            supervisor = Supervisor(made.layout, made.specs, made.environment, lifeline)
            return supervisor.run(lambda: _announce(made))
    except (DataFolderError, plan.PlanError, RuntimeError, OSError) as error:
        say(f"embedded: {error}")
        return 1


def _check_settings(made: StackPlan) -> None:
    """Raise `PlanError` with one line for a wrong value, before every process says so in its log.

    Asked of a child: what it imports need not stay in this process's memory.
    """
    done = subprocess.run(
        [sys.executable, "-m", "cyrex.host.folders"],
        env={**os.environ, **made.environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise plan.PlanError(done.stderr.strip().splitlines()[-1])


def _announce(made: StackPlan) -> None:
    values = made.environment
    if "CYREX_API_URL" not in values:
        say("up. Ctrl-C stops all of it.")
        return
    layout, lines = made.layout, ["", "Cyrex is up."]
    names = {spec.name for spec in made.specs}
    if "web" in names:
        api = values["CYREX_API_URL"]
        lines += [f"  API       {api}", f"  Docs      {api}{DOCS_PATH}"]
    if "flower" in names:
        shown = f"user {values['FLOWER_USER']}, password in {layout.secrets / 'flower'}"
        lines += [f"  Flower    {values['CYREX_FLOWER_URL']}   {shown}"]
    if layout.operator_key.exists():
        key = layout.operator_key.read_text().strip()
        lines += [f"  Operator  {key}   (kept in {layout.operator_key})"]
    say("\n".join([*lines, f"  Logs      {layout.logs}", "Ctrl-C stops all of it.", ""]))


def run(options: Options, command: list[str]) -> int:
    """Run `command` beside a stack of its own. Returns its exit status."""
    stack = Stack(
        options.data_dir,
        options.processes,
        table=options.table,
        fresh=options.fresh,
        output=sys.stderr,
    )
    try:
        stack.start()
    except StackError as error:
        say(f"embedded: {error}", sys.stderr)
        return 1
    try:
        return _beside(command, stack.environment)
    finally:
        stack.stop()


def _beside(command: list[str], environment: Mapping[str, str]) -> int:
    # `python` in the command means this one.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    variables = {**os.environ, **environment, "PATH": path}
    setup = kernel.child_setup(signal.SIGTERM)
    try:
        return forward.run(
            lambda: subprocess.Popen(command, env=variables, preexec_fn=setup), PASSED_ON
        )
    except OSError as error:
        say(f"embedded: {command[0]}: {error.strerror}", sys.stderr)
        return NOT_FOUND


def env(options: Options) -> int:
    """Print what makes a shell use the stack that runs."""
    layout = Layout.at(options.data_dir)
    if not layout.is_locked() or not layout.environment.exists():
        say(f"embedded: no stack runs on {layout.root}", sys.stderr)
        return NOT_RUNNING
    for name, value in json.loads(layout.environment.read_text()).items():
        say(f"export {name}={shlex.quote(value)}")
    return 0


def status(options: Options) -> int:
    """Print each process of the stack that runs."""
    layout = Layout.at(options.data_dir)
    found = state.read(layout)
    if found is None or not layout.is_locked():
        say(f"no stack runs on {layout.root}")
        return NOT_RUNNING
    say(f"{found.phase} on {layout.root} (supervisor: process {found.supervisor})")
    say(f"{'process':<10} {'status':<9} {'pid':>7} {'restarts':>9}  address")
    for name, process in found.processes.items():
        pid = "-" if process.pid is None else str(process.pid)
        say(f"{name:<10} {process.status:<9} {pid:>7} {process.restarts:>9}  {process.address}")
    return 0
