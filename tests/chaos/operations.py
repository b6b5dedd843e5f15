"""What an operator does after the storm: replay what was set aside, tidy up, list the registry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import requests

# Events that were refused stay set aside: nothing will mend them. So do calls of tools: their jobs
# have been told.
KINDS = ("job", "training", "adapter")
TIMEOUT_SECONDS = 10.0
PAGE = 200
CHILD_SECONDS = 120.0

VERSIONS = """
import json
from modelkit.registry import get_registry
from settings import get_settings
found = get_registry(get_settings()).list_models()
print(json.dumps([[model.name, model.version, model.sha256] for model in found]))
"""

TIDY_UP = """
from cyrex import blob_sweep, work_dirs
from tasks import retention
retention.apply()
blob_sweep.sweep(0)
work_dirs.sweep()
"""


def replay(url: str, key: str) -> int:
    """Replay the rows that were given up; returns how many."""
    headers = {"Authorization": f"Bearer {key}"}
    query: dict[str, Any] = {"replayed": "false", "limit": PAGE}
    answer = requests.get(
        f"{url}/operations/dead-letters", query, headers=headers, timeout=TIMEOUT_SECONDS
    )
    answer.raise_for_status()
    count = 0
    for letter in answer.json()["dead_letters"]:
        if letter["kind"] in KINDS:
            path = f"{url}/operations/dead-letters/{letter['id']}/replay"
            done = requests.post(path, headers=headers, json={}, timeout=TIMEOUT_SECONDS)
            count += int(done.ok)
    return count


def versions(environment: Mapping[str, str]) -> list[tuple[str, int, str]]:
    """(company, version, SHA-256) of everything in the stack's registry."""
    return [(str(a), int(b), str(c)) for a, b, c in json.loads(_child(VERSIONS, environment))]


def tidy_up(environment: Mapping[str, str]) -> None:
    """The retention that beat asks for once an hour, now."""
    _child(TIDY_UP, environment)


def _child(program: str, environment: Mapping[str, str]) -> Any:
    """What a program prints that runs with the stack's settings."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        timeout=CHILD_SECONDS,
        check=True,
    )
    return done.stdout.decode().strip().splitlines()[-1] if done.stdout.strip() else ""
