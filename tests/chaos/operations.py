"""What an operator does after the storm: replay what was set aside, tidy up, list the registry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import requests

# Events that were refused stay set aside: nothing will mend them. So do calls of tools: their jobs
# have been told.
KINDS = ("job", "training", "adapter")
TIMEOUT_SECONDS = 10.0
PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.5
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
from cyrex.host import work_dirs
from cyrex.recovery import blob_sweep
from tasks.upkeep import retention
retention.apply()
blob_sweep.sweep(0)
work_dirs.sweep()
"""


def replay(url: str, key: str) -> int:
    """Replay the rows that were given up; returns how many."""
    headers = {"Authorization": f"Bearer {key}"}
    count = 0
    for letter in list(_letters(url, headers)):
        if letter["kind"] in KINDS:
            path = f"{url}/operations/dead-letters/{letter['id']}/replay"
            count += int(_answered("POST", path, headers, json={}).ok)
    return count


def _letters(url: str, headers: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Those that nobody has replayed, page by page."""
    query: dict[str, Any] = {"replayed": "false", "limit": PAGE}
    while True:
        answer = _answered("GET", f"{url}/operations/dead-letters", headers, params=query)
        answer.raise_for_status()
        page = answer.json()
        yield from page["dead_letters"]
        if page["next_after"] is None:
            return
        query["after"] = page["next_after"]


def _answered(method: str, url: str, headers: Mapping[str, str], **what: Any) -> requests.Response:
    """Ask until there is an answer: the API, or what it needs, may have been killed just now."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            answer = requests.request(method, url, headers=headers, timeout=TIMEOUT_SECONDS, **what)
            if answer.status_code < 500 or time.monotonic() > give_up:
                return answer
        except (requests.ConnectionError, requests.Timeout):
            if time.monotonic() > give_up:
                raise
        time.sleep(PAUSE_SECONDS)


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
