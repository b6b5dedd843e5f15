"""`python -m database upgrade|downgrade REV|revision MESSAGE|check|states`."""

from __future__ import annotations

import argparse
import sys

from sqlalchemy.exc import OperationalError

from database import migrate, states
from database.session import database_complaint
from settings import settings_or_exit


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m database", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("upgrade").add_argument("revision", nargs="?", default="head")
    commands.add_parser("downgrade").add_argument("revision")
    commands.add_parser("revision").add_argument("message")
    commands.add_parser("check")
    commands.add_parser("states", help="print the tables of states as Markdown")
    arguments = parser.parse_args()
    if arguments.command == "states":
        print(states.markdown(), end="")
        return
    settings_or_exit()
    try:
        run(arguments)
    except OperationalError as error:
        sys.exit(database_complaint(error))


def run(arguments: argparse.Namespace) -> None:
    match arguments.command:
        case "upgrade":
            migrate.upgrade(arguments.revision)
        case "downgrade":
            migrate.downgrade(arguments.revision)
        case "revision":
            migrate.revise(arguments.message)
        case "check":
            migrate.check()


if __name__ == "__main__":
    main()
