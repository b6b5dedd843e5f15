"""A seed is a run: the same work and the same disturbances, in the stated shares."""

from __future__ import annotations

from collections import Counter

from tests.chaos.kill_points import POINTS
from tests.chaos.plan import (
    AT_TRAININGS,
    CHILDREN,
    KILLED,
    SHARES,
    SHORT,
    TRAININGS,
    portions,
    schedule,
    work,
)


def test_the_same_seed_is_the_same_run() -> None:
    assert work(7, 300) == work(7, 300)
    assert schedule(7, 300) == schedule(7, 300)
    assert work(7, 300) != work(8, 300)
    assert schedule(7, 300) != schedule(8, 300)


def test_shares_are_as_stated() -> None:
    assert sum(SHARES.values()) == 100
    counts = Counter(item.kind for item in work(1, 10_000))
    assert sum(counts.values()) == 10_000
    for kind, share in SHARES.items():
        assert abs(counts[kind] / 100 - share) < 1, kind
    assert all(counts[kind] for kind in TRAININGS)


def test_markers_are_each_items_own() -> None:
    items = work(1, 500)
    assert len({item.marker for item in items}) == len(items)


def test_every_disturbance_comes() -> None:
    wanted = {f"kill:{name}" for name in (*KILLED, "valkey", "postgres")}
    wanted |= {f"child:{name}" for name in CHILDREN} | {f"point:{name}" for name in POINTS}
    wanted |= {"flush:valkey", "restart:postgres", "stop:valkey"}
    assert wanted == {action.what for action in schedule(5, 60)}
    assert len(schedule(5, 10_000)) >= 10_000 // 60
    assert set(SHORT) == {action.what for action in schedule(5, 60, kills_only=True)}


def test_all_work_is_dealt_once_and_trainings_where_they_are_struck() -> None:
    items, actions = work(3, 600), schedule(3, 600)
    parts = portions(items, actions)
    assert len(parts) == len(actions) + 1
    assert sorted(item.number for part in parts for item in part) == list(range(600))
    struck = [parts[action.number] for action in actions if action.what in AT_TRAININGS]
    assert all(part[0].kind in TRAININGS for part in struck)
