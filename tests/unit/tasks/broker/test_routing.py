"""Rendezvous hashing: stable, fair, and only a lost worker's companies move."""

from __future__ import annotations

from collections import Counter

from tasks.broker.routing import preferred

NODES = tuple(f"inference{n}@host" for n in range(5))
COMPANIES = [f"company-{n}" for n in range(1000)]


def test_a_company_always_prefers_the_same_worker() -> None:
    for company in COMPANIES[:50]:
        assert preferred(company, NODES) == preferred(company, tuple(reversed(NODES)))


def test_companies_are_spread_evenly() -> None:
    shares = Counter(preferred(company, NODES) for company in COMPANIES)
    assert set(shares) == set(NODES)
    assert max(shares.values()) < 1.5 * len(COMPANIES) / len(NODES)


def test_only_the_companies_of_a_lost_worker_move() -> None:
    lost, *left = NODES
    for company in COMPANIES:
        before, after = preferred(company, NODES), preferred(company, tuple(left))
        assert after == before or before == lost
