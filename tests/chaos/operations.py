"""What an operator does after the storm: replay what was set aside, tidy up, list the registry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import requests

# Events that were refused stay set aside: nothing will mend them.
KINDS = ("job", "training", "adapter", "tool")
TIMEOUT_SECONDS = 10.0
NOT_FOUND = 404
CHILD_SECONDS = 120.0

VERSIONS = """
import json
from modelkit.registry import get_registry
from settings import get_settings
found = get_registry(get_settings()).list_models()
print(json.dumps([[model.name, model.version, model.sha256] for model in found]))
"""

TIDY_UP = """
from datetime import timedelta
from tasks import retention
retention.apply()
sweep = getattr(retention, "sweep_blobs", None)
if sweep is not None:
    sweep(timedelta(0))
"""


def replay(url: str, key: str) -> int:
    """Replay the rows that were given up; returns how many."""
    headers = {"Authorization": f"Bearer {key}"}
    answer = requests.get(
        f"{url}/operations/dead-letters", headers=headers, timeout=TIMEOUT_SECONDS
    )
    if answer.status_code == NOT_FOUND:
        return 0
    answer.raise_for_status()
    count = 0
    for letter in answer.json()["dead_letters"]:
        if letter["kind"] in KINDS and letter["replayed_at"] is None:
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
