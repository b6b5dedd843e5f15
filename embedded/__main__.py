"""`python -m embedded up | run -- COMMAND … | env | status`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from embedded.stack.options import DEFAULT_DATA_DIR, DEFAULT_TABLE, Options
from embedded.supervisor import guard, kernel

INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m embedded", description=__doc__)
    commands = made.add_subparsers(dest="command", metavar="COMMAND", required=True)
    shown = {
        "up": "start the stack and keep it running until Ctrl-C",
        "run": "run one command beside a stack of its own, then stop the stack",
        "env": "print the environment of the stack that runs, for a shell's eval",
        "status": "print the processes of the stack that runs",
    }
    for name in (*shown, "supervise"):
        # `supervise` is for `up` alone, and not shown.
        listed = name in shown
        command = (
            commands.add_parser(name, help=shown[name]) if listed else commands.add_parser(name)
        )
        command.add_argument(
            "--data-dir",
            type=Path,
            default=Path(os.environ.get("DATA_DIR") or DEFAULT_DATA_DIR),
            help="where everything is kept (default: DATA_DIR, else %(default)s)",
        )
        if name in ("env", "status"):
            continue
        command.add_argument(
            "--processes", default="all", help="`all`, `servers`, or names separated by commas"
        )
        command.add_argument("--fresh", action="store_true", help="empty the data folder first")
        command.add_argument("--table", default=DEFAULT_TABLE, help=argparse.SUPPRESS)
        command.add_argument(
            "--with-parent", action="store_true", help="stop when the calling process ends"
        )
        if name == "run":
            command.add_argument("arguments", nargs="+", metavar="-- COMMAND …")
        else:
            command.add_argument(
                "--until-stdin-closes", action="store_true", help=argparse.SUPPRESS
            )
    return made


def main(arguments: Sequence[str]) -> int:
    given = parser().parse_args(arguments)
    if given.command in ("up", "run") and given.with_parent:
        kernel.die_with_parent(signal.SIGTERM, os.getppid())
    if given.command == "up":
        return guard.watch(arguments[1:])
    # Imported here: the guard does without.
    from embedded.stack import commands

    options = Options(
        data_dir=given.data_dir,
        **{
            name: getattr(given, name)
            for name in ("processes", "table", "fresh", "until_stdin_closes")
            if hasattr(given, name)
        },
    )
    match given.command:
        case "supervise":
            return commands.supervise(options)
        case "run":
            return commands.run(options, given.arguments)
        case "env":
            return commands.env(options)
        case _:
            return commands.status(options)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
