"""The cost of delivery: the bridge, the relay, a submit and a whole job, beside bare loops.

    python -m benchmarks.delivery [--rounds N] [--scale S]

Starts a Postgres and a Valkey of its own. Rivals take turns in the same run; figures are medians
of the rounds, and ratios are of medians. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from embedded import Servers

ROUNDS = 3
EVENTS, CHAINS, RELAYED, SUBMITTED, NOOPS = 10_000, 1_000, 200, 1_500, 600
RATE, RATE_SECONDS = 300.0, 10.0

Rival = Callable[[int], float]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--scale", type=float, default=1.0, help="of all counts")
    parser.add_argument("--only", choices=("streams", "submit", "noop"), default=None)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, Servers(Path(folder) / "servers") as servers:
        os.environ.update(servers.environment)
        os.environ["BLOB_DIR"] = str(Path(folder) / "blobs")
        from database import migrate

        migrate.upgrade()
        print(json.dumps(figures(given.rounds, given.scale, given.only, Path(folder))), flush=True)


def figures(rounds: int, scale: float, only: str | None, folder: Path) -> dict[str, Any]:
    from benchmarks.delivery import streams as delivery_streams

    delivery_streams.make_companies()
    found: dict[str, Any] = {}
    if only in (None, "streams"):
        found |= streams(rounds, scale)
    if only in (None, "submit"):
        found |= submit(rounds, scale)
    if only in (None, "noop"):
        found |= noop(rounds, scale, folder)
    return {name: round(value, 3) for name, value in found.items()}


def streams(rounds: int, scale: float) -> dict[str, float]:
    from benchmarks.delivery import streams as rivals

    bridge, bare = _turns(rounds, int(EVENTS * scale), rivals.bridge, rivals.bare)
    chains, publish = _turns(rounds, int(CHAINS * scale), rivals.chains, rivals.bare_publish)
    waits = rivals.relay(max(20, int(RELAYED * scale)))
    _say("relay: commit to stream, ms", p50=statistics.median(waits), p99=_p99(waits))
    return {
        "bridge_events_s": bridge,
        "bridge_over_bare": bridge / bare,
        "chains_over_bare_publish": chains / publish,
        "relay_p50_ms": statistics.median(waits),
    }


def submit(rounds: int, scale: float) -> dict[str, float]:
    from benchmarks.delivery import bare as delivery_bare
    from benchmarks.delivery import submit as rivals

    with delivery_bare.engine().begin() as connection:
        connection.exec_driver_sql(delivery_bare.TABLE)
    keys = rivals.make_keys()
    with rivals.product(keys) as product, rivals.bare() as bare:
        ours, theirs = _turns(
            rounds,
            int(SUBMITTED * scale),
            lambda count: rivals.closed_loop(product, count),
            lambda count: rivals.closed_loop(bare, count),
        )
        waits = rivals.open_loop(product, RATE, max(2.0, RATE_SECONDS * scale))
    _say("submit: at 300/s, ms", p50=statistics.median(waits), p99=_p99(waits))
    return {
        "submit_s": ours,
        "submit_over_bare": ours / theirs,
        "submit_p50_ms": statistics.median(waits),
        "submit_p99_ms": _p99(waits),
    }


def noop(rounds: int, scale: float, folder: Path) -> dict[str, float]:
    from benchmarks.delivery import noop as rivals

    with rivals.worker(folder / "ready"):
        ours, theirs = _turns(rounds, int(NOOPS * scale), rivals.product, rivals.bare)
    return {"noop_jobs_s": ours, "noop_over_bare": ours / theirs}


def _turns(rounds: int, count: int, ours: Rival, theirs: Rival) -> tuple[float, float]:
    """Medians of both rivals, which take turns after one warm-up round each."""
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for rates, rival in zip(found, (ours, theirs), strict=True):
            rate = rival(max(100, count // 10) if number == 0 else count)
            rates += [rate] if number else []
    medians = statistics.median(found[0]), statistics.median(found[1])
    name = getattr(ours, "__name__", "submit").replace("<lambda>", "submit")
    _say(f"{name}, per second", ours=medians[0], bare=medians[1])
    return medians


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[-1]


def _say(what: str, **values: float) -> None:
    shown = "  ".join(f"{name} {value:,.1f}" for name, value in values.items())
    print(f"{what:<32} {shown}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
