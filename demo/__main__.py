"""The main job of three companies, over HTTP: `python -m demo` beside a running stack.

Two companies train on the same messages with opposite labels (`demo.main_job`); a third one has a
tool (`demo.tools`). `--again`, beside the same stack started anew, shows what is still there.
`make demo` starts the stack for both.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from functools import partial
from pathlib import Path

from demo import tools
from demo.client import Api
from demo.main_job import Demo, say_since

STATE_FILE = "demo.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--examples", type=int, default=300)
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="end with the table as one JSON line")
    parser.add_argument("--again", action="store_true", help="after a restart: what is still there")
    given = parser.parse_args()
    url = os.environ["CYREX_API_URL"]
    state = Path(os.environ["DATA_DIR"]) / STATE_FILE
    if given.again:
        tools.again(state, url, partial(say_since, time.monotonic()))
        return
    key = Path(os.environ["CYREX_OPERATOR_KEY_FILE"]).read_text().strip()
    demo = Demo(Api(url, key), given.examples, given.questions, given.epochs)
    table = demo.run()
    tools.first(demo, state)
    if given.json:
        print(json.dumps(table))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
