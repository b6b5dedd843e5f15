"""Error rates of the gate: the product's own `judge` on simulated candidates.

    python -m benchmarks.gate [--runs N]

The model: example i has a difficulty d_i from N(0, 1), shared by both arms. An arm of skill s
answers it correctly if s - d_i + e > 0; e, from N(0, NOISE^2), is drawn for each arm and example.
Skills are set to give the stated accuracies. With NOISE = 0.5, two arms of 70 % disagree on some
18 % of the examples. Each figure is the worst over champions of 50, 70, 85 %.

Last line, shares of the runs: `false_promotion` (equal candidates promoted, the worse of 50 and 100
examples; at most 0.10), `missed_regression` (candidates 15 points worse at 50 examples that are not
refused; at most 0.05), `found_gain` (candidates 10 points better at 100 examples that are promoted;
at least 0.75).
"""

from __future__ import annotations

import argparse
import json
import random
from statistics import NormalDist

from cyrex.adapters.gate import judge

NOISE = 0.5
CHAMPIONS = (0.5, 0.7, 0.85)
SEED = 20261128


def arm(right: list[float]) -> dict[str, object]:
    return {"scores": right, "mean_loss": 1.0}


def promoted(accuracy: float, gain: float, examples: int, runs: int) -> float:
    """The share of simulated candidates that `judge` promotes."""
    drawn = random.Random(f"{SEED} {accuracy} {gain} {examples}")
    spread = (1 + NOISE**2) ** 0.5
    champion, candidate = (NormalDist().inv_cdf(a) * spread for a in (accuracy, accuracy + gain))
    count = 0
    for _ in range(runs):
        difficulty = [drawn.gauss(0, 1) for _ in range(examples)]
        scores = {
            label: arm([float(skill - d + NOISE * drawn.gauss(0, 1) > 0) for d in difficulty])
            for label, skill in (("champion", champion), ("candidate", candidate))
        }
        count += judge({"scores": scores, "metric": "exact"}, has_champion=True).promote
    return count / runs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=4000, help="simulated candidates a figure")
    runs = parser.parse_args().runs
    found = {
        "false_promotion": max(promoted(a, 0.0, n, runs) for a in CHAMPIONS for n in (50, 100)),
        "missed_regression": max(promoted(a, -0.15, 50, runs) for a in CHAMPIONS),
        "found_gain": min(promoted(a, 0.10, 100, runs) for a in CHAMPIONS),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
